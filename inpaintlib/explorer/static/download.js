// A button that asks the kernel for a file and saves it.
function render({ model, el }) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "ex-button" });
  const id = Math.random().toString(36).slice(2);
  button.addEventListener("click", () => model.send({ kind: "wanted", id }));
  el.append(button);

  function changed() {
    button.textContent = model.get("label");
    button.title = model.get("hint");
    button.disabled = model.get("disabled");
  }

  function got(content, buffers) {
    if (content.id !== id) return;
    const url = URL.createObjectURL(new Blob([buffers[0]], { type: content.mime }));
    const link = Object.assign(document.createElement("a"), { href: url, download: content.name });
    el.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  }

  for (const name of ["label", "hint", "disabled"]) model.on(`change:${name}`, changed);
  model.on("msg:custom", got);
  changed();
  return () => {
    for (const name of ["label", "hint", "disabled"]) model.off(`change:${name}`, changed);
    model.off("msg:custom", got);
  };
}

export default { render };
