// Two pictures on top of each other; a slider says how much of each is seen. Also as large as the window.
function node(parent, tag, properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  parent.append(made);
  return made;
}

function panel(parent) {
  const stage = node(parent, "div", { className: "ex-compare-stage" });
  const before = node(stage, "img", { alt: "Before", draggable: false });
  const after = node(stage, "img", { alt: "After", draggable: false });
  const edge = node(stage, "div", { className: "ex-edge" });
  const label = node(parent, "label", { className: "ex-slide", textContent: "Before / after " });
  const slider = node(label, "input", { type: "range", min: 0, max: 100, value: 50 });
  const moved = () => {
    after.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
    edge.style.left = `${slider.value}%`;
  };
  slider.addEventListener("input", moved);
  moved();
  return { before, after, stage };
}

function render({ model, el }) {
  el.classList.add("ex-compare");
  const caption = node(el, "p");
  const small = panel(el);
  const enlarge = node(el, "button", { type: "button", className: "ex-button", textContent: "Enlarge",
    title: "Show it as large as the window" });
  const dialog = node(el, "dialog", { className: "ex-dialog" });
  dialog.setAttribute("aria-label", "Before and after, enlarged");
  const large = panel(dialog);
  const close = node(dialog, "button", { type: "button", className: "ex-button", textContent: "Close",
    title: "Back to the page" });
  const open = () => dialog.showModal();
  enlarge.addEventListener("click", open);
  small.stage.addEventListener("click", open);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  const urls = {};

  function changed() {
    el.hidden = !model.get("after").byteLength || !model.get("before").byteLength;
    if (el.hidden) return;
    for (const name of ["before", "after"]) {
      if (urls[name]) URL.revokeObjectURL(urls[name]);
      urls[name] = URL.createObjectURL(new Blob([model.get(name)], { type: "image/png" }));
      small[name].src = large[name].src = urls[name];
    }
    caption.textContent = model.get("title");
  }

  let asked = false;
  const together = () => {
    if (asked) return;
    asked = true;
    queueMicrotask(() => { asked = false; changed(); });
  };
  for (const name of ["before", "after", "title"]) model.on(`change:${name}`, together);
  changed();
  return () => {
    for (const name of ["before", "after", "title"]) model.off(`change:${name}`, together);
    Object.values(urls).forEach((url) => URL.revokeObjectURL(url));
  };
}

export default { render };
