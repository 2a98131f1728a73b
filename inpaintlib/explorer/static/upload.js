// A file for the kernel, in pieces that pass every server's limit on a message (10 MiB in most).
const PIECE = 1 << 20;

function render({ model, el }) {
  const label = Object.assign(document.createElement("label"), { className: "ex-button ex-upload" });
  const input = Object.assign(document.createElement("input"), { type: "file" });
  const text = document.createElement("span");
  label.append(text, input);
  el.append(label);
  let files = 0;

  function changed() {
    text.textContent = model.get("label");
    label.title = model.get("hint");
    input.accept = model.get("accept");
  }

  input.addEventListener("change", async () => {
    const file = input.files[0];
    if (!file) return;
    const id = `${Math.random().toString(36).slice(2)}-${++files}`;
    const about = { kind: "piece", id, name: file.name, total: file.size };
    input.value = "";
    if (file.size > model.get("most") || !file.size) {
      model.send({ ...about, at: 0 }, undefined, [new ArrayBuffer(0)]);
      return;
    }
    try {
      for (let at = 0; at < file.size; at += PIECE) {
        model.send({ ...about, at }, undefined, [await file.slice(at, at + PIECE).arrayBuffer()]);
      }
    } catch (error) {
      model.send({ kind: "lost", id, name: file.name });
    }
  });

  for (const name of ["label", "hint", "accept"]) model.on(`change:${name}`, changed);
  changed();
  return () => { for (const name of ["label", "hint", "accept"]) model.off(`change:${name}`, changed); };
}

export default { render };
