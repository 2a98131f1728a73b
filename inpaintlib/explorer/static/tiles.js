// Pictures in a row, each with a title and lines of text; if they can be chosen, each is a button.
function node(parent, tag, properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  parent.append(made);
  return made;
}

function render({ model, el }) {
  el.classList.add("ex-tiles");
  const caption = node(el, "p", { id: `ex-tiles-${Math.random().toString(36).slice(2)}` });
  const group = node(el, "div", { className: "ex-tiles-row" });
  group.setAttribute("role", "group");
  group.setAttribute("aria-labelledby", caption.id);
  let parts = [];

  function build(n) {
    group.replaceChildren();
    parts = Array.from({ length: n }, (_, i) => {
      const pick = model.get("choosable");
      const tile = node(group, pick ? "button" : "figure", { className: "ex-tile" });
      if (pick) {
        tile.type = "button";
        tile.addEventListener("click", () => { model.send({ kind: "chosen", place: i }); });
      }
      const image = node(tile, "img", { draggable: false });
      return { tile, image, text: node(tile, pick ? "span" : "figcaption"), content: null };
    });
  }

  function picture(part, content) {
    if (part.content === content) return;
    part.content = content;
    const url = URL.createObjectURL(new Blob([content], { type: "image/png" }));
    part.image.onload = part.image.onerror = () => URL.revokeObjectURL(url);
    part.image.src = url;
  }

  function changed() {
    const tiles = model.get("tiles");
    if (tiles.length !== parts.length) build(tiles.length);
    caption.textContent = model.get("label");
    el.hidden = !tiles.length;
    el.style.setProperty("--ex-tile", `${model.get("side")}px`);
    tiles.forEach(({ image, title, lines }, i) => {
      picture(parts[i], image);
      parts[i].image.alt = model.get("choosable") ? "" : title; // a button has it as text
      parts[i].text.replaceChildren();
      node(parts[i].text, "b", { textContent: title });
      for (const line of lines) node(parts[i].text, "span", { textContent: line });
    });
    chosen();
  }

  function chosen() {
    parts.forEach(({ tile }, i) => {
      if (tile.localName === "button") tile.setAttribute("aria-pressed", String(i === model.get("chosen")));
    });
  }

  const listened = [["change:tiles", changed], ["change:chosen", chosen], ["change:label", changed]];
  for (const [event, call] of listened) model.on(event, call);
  changed();
  return () => { for (const [event, call] of listened) model.off(event, call); };
}

export default { render };
