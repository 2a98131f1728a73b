// The line that says what happens and what went wrong, also to those who listen instead of look.
const LOST = "The connection to Python is lost. Reload the page; what was made is kept in reports/explorer/.";
const SILENT = "Python does not answer. If this stays, reload the page; what was made is kept in reports/explorer/.";
const DEAD = "jupyter-widgets-disconnected"; // what the widget manager calls an element whose kernel is gone
const EVERY = 4000, PATIENCE = 12000; // milliseconds
const NARROW = 760; // pixels

function render({ model, el }) {
  el.classList.add("ex-status");
  const said = document.createElement("div"), alarm = document.createElement("div");
  said.setAttribute("role", "status");
  said.setAttribute("aria-live", "polite");
  alarm.setAttribute("role", "alert");
  alarm.dataset.kind = "error";
  el.append(said, alarm);

  function changed() {
    said.textContent = model.get("text");
    said.dataset.kind = model.get("kind");
  }

  // Whether Python answers. It is asked, rather than that it tells: a kernel whose page is closed must look idle.
  let asked = null, silent = false, gone = false;

  function alarmed() {
    const text = gone || el.classList.contains(DEAD) ? LOST : silent ? SILENT : "";
    if (alarm.textContent !== text) alarm.textContent = text;
    said.hidden = Boolean(text);
  }

  function ask() {
    if (document.hidden) return;
    if (asked === null) {
      try {
        model.send({ kind: "ping" });
        asked = Date.now();
      } catch (error) { // there is no kernel to send to
        gone = true;
      }
    } else if (Date.now() - asked > PATIENCE) {
      silent = true;
    }
    alarmed();
  }

  function shown() { // browsers hardly run what is hidden, so the time does not count
    if (asked !== null) asked = Date.now();
  }

  // The app around; it may come later than this element.
  const app = () => el.closest(".ex-app");
  let last = null; // what had the focus

  // A button that is disabled loses the focus to the page. The other one may be enabled a moment after this message.
  function focus(name, tries = 20) {
    const button = app()?.querySelector(`.${name}`), at = document.activeElement;
    const lost = at === document.body || at === null || at.disabled;
    if (!button || !lost || !last?.matches(".ex-run, .ex-stop")) return;
    if (!button.disabled) button.focus({ preventScroll: true });
    else if (tries) setTimeout(() => focus(name, tries - 1), 50);
  }

  function heard(content) {
    if (content.kind === "pong") {
      [asked, silent, gone] = [null, false, false];
      alarmed();
    } else if (content.kind === "focus") {
      setTimeout(() => focus(content.on), 50);
    } else if (content.kind === "scroll" && innerWidth < NARROW) {
      setTimeout(() => app()?.querySelector(`.${content.to}`)?.scrollIntoView({ block: "start" }), 50);
    }
  }

  // JupyterLab has shortcuts on plain keys (b, x, arrows ...), which must not be heard inside the app. It looks for a
  // mark on what has the focus.
  const mark = (event) => {
    if (!app()?.contains(event.target)) return;
    last = event.target;
    event.target.dataset.lmSuppressShortcuts = "true";
  };
  document.addEventListener("focusin", mark);
  for (const name of ["text", "kind"]) model.on(`change:${name}`, changed);
  model.on("msg:custom", heard);
  const watch = new MutationObserver(alarmed), timer = setInterval(ask, EVERY);
  watch.observe(el, { attributes: true, attributeFilter: ["class"] });
  document.addEventListener("visibilitychange", shown);
  changed();
  alarmed();
  model.send({ kind: "seen" });
  return () => {
    for (const name of ["text", "kind"]) model.off(`change:${name}`, changed);
    model.off("msg:custom", heard);
    watch.disconnect();
    clearInterval(timer);
    document.removeEventListener("visibilitychange", shown);
    document.removeEventListener("focusin", mark);
  };
}

export default { render };
