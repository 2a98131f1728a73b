// The line that says what happens and what went wrong, also to those who listen instead of look.
function render({ model, el }) {
  el.classList.add("ex-status");
  const said = document.createElement("div");
  said.setAttribute("role", "status");
  said.setAttribute("aria-live", "polite");
  el.append(said);

  function changed() {
    said.textContent = model.get("text");
    said.dataset.kind = model.get("kind");
  }

  // JupyterLab has shortcuts on plain keys (b, x, arrows ...), which must not be heard inside the app. It looks for a
  // mark on what has the focus.
  const mark = (event) => { event.target.dataset.lmSuppressShortcuts = "true"; };
  requestAnimationFrame(() => el.closest(".ex-app")?.addEventListener("focusin", mark));
  for (const name of ["text", "kind"]) model.on(`change:${name}`, changed);
  changed();
  model.send({ kind: "seen" });
  return () => { for (const name of ["text", "kind"]) model.off(`change:${name}`, changed); };
}

export default { render };
