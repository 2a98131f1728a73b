// The mask over the photo. The photo's copy of the mask is the kernel's; what is painted here is shown at once and
// sent as a patch of changed pixels, and stays on screen until the kernel says that it has it. So strokes are neither
// lost nor undone by a kernel that is late, and a page that is opened again shows what the kernel has.
const COLOUR = [214, 0, 110, 150];
const TOOLS = [["brush", "Brush"], ["eraser", "Eraser"], ["box", "Rectangle"], ["clearing", "Erase rectangle"]];
const HELP = "Drag over the photo to hide what is to be filled. With the keyboard: arrow keys move the cursor (Shift: "
  + "one pixel), Space paints, and for a rectangle sets two corners; Ctrl+Z undoes, Ctrl+Y does it again.";
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
let views = 0;

function node(parent, tag, properties = {}, attributes = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

// Sets the pixels of `cells` (height x width) whose centre is at most `radius` from the segment from a to b.
function segment(cells, width, height, a, b, radius) {
  const dx = b.x - a.x, dy = b.y - a.y, length = dx * dx + dy * dy;
  const clip = (value, end) => Math.max(0, Math.min(end, Math.floor(value)));
  const x0 = clip(Math.min(a.x, b.x) - radius, width), x1 = clip(Math.max(a.x, b.x) + radius + 1, width);
  const y0 = clip(Math.min(a.y, b.y) - radius, height), y1 = clip(Math.max(a.y, b.y) + radius + 1, height);
  for (let y = y0; y < y1; y++) {
    for (let x = x0; x < x1; x++) {
      const px = x + 0.5 - a.x, py = y + 0.5 - a.y;
      const t = length ? Math.max(0, Math.min(1, (px * dx + py * dy) / length)) : 0;
      if ((px - t * dx) ** 2 + (py - t * dy) ** 2 <= radius * radius) cells[y * width + x] = 1;
    }
  }
}

function rectangle(cells, width, height, a, b) {
  const clip = (value, end) => Math.max(0, Math.min(end, Math.round(value)));
  const x0 = clip(Math.min(a.x, b.x), width), x1 = clip(Math.max(a.x, b.x), width);
  const y0 = clip(Math.min(a.y, b.y), height), y1 = clip(Math.max(a.y, b.y), height);
  for (let y = y0; y < y1; y++) cells.fill(1, y * width + x0, y * width + x1);
}

// The smallest rectangle that holds all set cells; null if none is.
function cropped(cells, width, height) {
  let top = height, bottom = -1, left = width, right = -1;
  for (let i = 0; i < cells.length; i++) {
    if (!cells[i]) continue;
    const y = Math.floor(i / width), x = i % width;
    top = Math.min(top, y); bottom = Math.max(bottom, y);
    left = Math.min(left, x); right = Math.max(right, x);
  }
  if (bottom < 0) return null;
  const box = { top, left, height: bottom - top + 1, width: right - left + 1 };
  const patch = new Uint8Array(box.height * box.width);
  for (let y = 0; y < box.height; y++) {
    const start = (top + y) * width + left;
    patch.set(cells.subarray(start, start + box.width), y * box.width);
  }
  return { ...box, patch };
}

function render({ model, el }) {
  const name = `ex-brush-${++views}-${Math.random().toString(36).slice(2)}`;
  el.classList.add("ex-brush");

  const bar = node(el, "div", { className: "ex-tools" });
  const group = node(bar, "fieldset");
  node(group, "legend", { textContent: "Tool" });
  for (const [value, text] of TOOLS) {
    const label = node(group, "label");
    node(label, "input", { type: "radio", name, value, checked: value === "brush" });
    label.append(text);
  }
  const sizing = node(bar, "label", { className: "ex-size", textContent: "Brush size " });
  const slider = node(sizing, "input", { type: "range", min: 1 });
  const shown = node(sizing, "span");

  const stage = node(el, "div", { className: "ex-stage" });
  const photo = node(stage, "img", { alt: "", draggable: false });
  const canvas = node(stage, "canvas", { tabIndex: 0 }, { role: "application", "aria-describedby": `${name}-help` });
  const ring = node(stage, "div", { className: "ex-ring" }, { "aria-hidden": "true" });
  node(el, "p", { className: "ex-help", id: `${name}-help`, textContent: HELP });

  let width, height, held, seen, image, stroke = null, pending = [], count = 0, cursor, corner = null, url = null;
  let waiting = false;

  const tool = () => group.querySelector("input:checked").value;
  const erases = () => tool() === "eraser" || tool() === "clearing";
  const boxes = () => tool() === "box" || tool() === "clearing";
  const radius = () => Number(slider.value) / 2;

  function apply({ erase, top, left, height: rows, width: columns, patch }) {
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        if (patch[y * columns + x]) seen[(top + y) * width + left + x] = erase ? 0 : 1;
      }
    }
  }

  function paint() {
    waiting = false;
    const inside = stroke ? (stroke.erase ? 0 : 1) : 0;
    for (let i = 0; i < seen.length; i++) {
      image.data[4 * i + 3] = (stroke && stroke.cells[i] ? inside : seen[i]) ? COLOUR[3] : 0;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  function repaint() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(paint);
  }

  function refresh() {
    seen = held.slice();
    pending.forEach(apply);
    repaint();
  }

  function maskChanged() {
    const bits = model.get("mask");
    held = new Uint8Array(width * height);
    for (let i = 0; i < held.length; i++) held[i] = (bits.getUint8(i >> 3) >> (7 - (i & 7))) & 1;
    heard();
  }

  // The kernel handles strokes in order: those up to the one that it names are in its mask, or refused.
  function heard() {
    const place = pending.findIndex((one) => one.id === model.get("done"));
    pending = pending.slice(place + 1);
    refresh();
  }

  function photoChanged() {
    if (!model.get("photo").byteLength || model.get("mask").byteLength * 8 < model.get("width") * model.get("height")) return;
    if (url) URL.revokeObjectURL(url);
    photo.src = url = URL.createObjectURL(new Blob([model.get("photo")], { type: "image/png" }));
    canvas.setAttribute("aria-label", `The mask over the photo (${model.get("title")}).`);
    if (width !== model.get("width") || height !== model.get("height")) {
      [width, height] = [model.get("width"), model.get("height")];
      Object.assign(canvas, { width, height });
      stage.style.aspectRatio = `${width} / ${height}`;
      stage.style.maxWidth = `min(100%, ${width >= height ? 480 : Math.round(480 * width / height)}px)`;
      image = new ImageData(width, height);
      for (let i = 0; i < width * height; i++) image.data.set(COLOUR, 4 * i);
      slider.max = Math.max(2, Math.round(Math.min(width, height) / 2));
      slider.value = Math.max(2, Math.round(Math.min(width, height) / 8));
      [stroke, pending, corner, cursor] = [null, [], null, { x: width / 2, y: height / 2 }];
      sized();
    }
    maskChanged();
  }

  function sized() {
    shown.textContent = `${slider.value} px`;
    moved();
  }

  function moved() {
    const side = boxes() ? 0 : 2 * radius();
    Object.assign(ring.style, {
      left: `${100 * (cursor.x - side / 2) / width}%`, top: `${100 * (cursor.y - side / 2) / height}%`,
      width: `${100 * side / width}%`, height: `${100 * side / height}%`,
    });
    ring.classList.toggle("ex-point", side === 0);
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) * width / box.width, y: (event.clientY - box.top) * height / box.height };
  }

  function begin(at) {
    stroke = { erase: erases(), box: boxes(), cells: new Uint8Array(width * height), first: at, last: at };
    extend(at);
  }

  function extend(to) {
    if (stroke.box) {
      stroke.cells.fill(0);
      rectangle(stroke.cells, width, height, stroke.first, to);
    } else {
      segment(stroke.cells, width, height, stroke.last, to, radius());
    }
    stroke.last = to;
    repaint();
  }

  function finish() {
    const { erase, cells } = stroke;
    stroke = null;
    const crop = cropped(cells, width, height);
    if (crop) {
      const sent = { id: `${name}-${++count}`, erase, ...crop };
      pending.push(sent);
      apply(sent);
      const { patch, ...content } = sent;
      model.send({ kind: "stroke", shape: [height, width], ...content }, undefined, [patch.buffer]);
    }
    repaint();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button !== 0) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    [cursor, corner] = [place(event), null];
    moved();
    begin(cursor);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!event.isPrimary) return;
    cursor = place(event);
    moved();
    if (!stroke || corner) return;
    const list = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const one of list.length ? list : [event]) extend(place(one));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => { if (event.isPrimary && stroke && !corner) finish(); });
  }

  canvas.addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && (key === "z" || key === "y")) {
      model.send({ kind: key === "y" || event.shiftKey ? "redo" : "undo" });
    } else if (STEPS[event.key]) {
      const [dx, dy] = STEPS[event.key], far = event.shiftKey ? 1 : Math.max(1, Math.round(radius()));
      cursor = { x: Math.max(0, Math.min(width, cursor.x + dx * far)), y: Math.max(0, Math.min(height, cursor.y + dy * far)) };
      moved();
      if (corner) extend(cursor);
    } else if (key === " " || key === "enter") {
      if (corner) { corner = null; finish(); }
      else { begin(cursor); if (stroke.box) corner = cursor; else finish(); }
    } else if (key === "escape" && stroke) {
      [stroke, corner] = [null, null];
      repaint();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });

  slider.addEventListener("input", sized);
  group.addEventListener("change", () => { [stroke, corner] = [null, null]; moved(); repaint(); });
  // All of a photo's traits come in one message, but each tells by itself: they are read together, afterwards.
  let asked = false;
  const together = () => {
    if (asked) return;
    asked = true;
    queueMicrotask(() => { asked = false; photoChanged(); });
  };
  const later = () => { if (width === model.get("width") && height === model.get("height")) maskChanged(); };
  const listened = [["change:photo", together], ["change:width", together], ["change:height", together],
    ["change:title", together], ["change:mask", later], ["change:done", later]];
  for (const [event, call] of listened) model.on(event, call);
  photoChanged();
  return () => {
    for (const [event, call] of listened) model.off(event, call);
    if (url) URL.revokeObjectURL(url);
  };
}

export default { render };
