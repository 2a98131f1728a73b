// Names to be wanted or not: each press goes on from indifferent to wanted, to unwanted, and back.
const MARKS = { "": "", "+": "+ ", "-": "\u2212 " };
const NEXT = { "": "+", "+": "-", "-": "" };
const SAID = { "": "does not matter", "+": "wanted", "-": "unwanted" };

function render({ model, el }) {
  el.classList.add("ex-chips");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", "Attributes: press once for wanted, twice for unwanted");
  const chips = new Map();
  for (const name of model.get("names")) {
    const chip = Object.assign(document.createElement("button"), { type: "button", className: "ex-chip" });
    chip.addEventListener("click", () => {
      const wishes = wished(), sign = NEXT[wishes.get(name) ?? ""];
      if (sign) wishes.set(name, sign); else wishes.delete(name);
      model.set("wishes", [...wishes].map(([one, mark]) => mark + one).join(","));
      model.save_changes();
    });
    chips.set(name, chip);
    el.append(chip);
  }
  const more = Object.assign(document.createElement("button"), { type: "button", className: "ex-button" });
  more.title = "Show or hide the rarer attributes";
  more.addEventListener("click", () => { all = !all; changed(); });
  el.append(more);
  let all = false;

  function wished() {
    const pairs = model.get("wishes").split(",").map((text) => text.trim()).filter((text) => text);
    return new Map(pairs.map((text) => [text.slice(1), text[0]]));
  }

  function changed() {
    const wishes = wished();
    [...chips].forEach(([name, chip], i) => {
      const sign = wishes.get(name) ?? "", words = name.replaceAll("_", " ");
      chip.textContent = MARKS[sign] + words;
      chip.title = `${words}: ${SAID[sign]}. Press for: ${SAID[NEXT[sign]]}.`;
      chip.setAttribute("aria-label", `${words}: ${SAID[sign]}`);
      chip.dataset.sign = sign;
      chip.hidden = !all && !sign && i >= model.get("common");
    });
    more.textContent = all ? "Fewer attributes" : "More attributes";
    more.setAttribute("aria-expanded", String(all));
  }

  model.on("change:wishes", changed);
  changed();
  return () => model.off("change:wishes", changed);
}

export default { render };
