"use strict";
// What the whole page needs: pictures, what hovering shows, figures. The other scripts take it from `page`.
// Nothing here makes HTML of a name: text goes in as text, pictures as data.
const page = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;

  function make(tag, text, attributes) {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    return element;
  }

  // Pictures

  function source(number) {
    const image = data.images[number];
    return image && image.picture ? "data:image/webp;base64," + image.picture : "";
  }

  function fillPicture(place) {
    const number = Number(place.dataset.image);
    const from = source(number);
    place.replaceChildren(
      from ? make("img", null, { src: from, alt: place.dataset.alt, decoding: "async" }) : make("span", "no picture here"),
    );
  }

  document.querySelectorAll("[data-image]").forEach(fillPicture);

  // What hovering shows, and a tap or click

  const tip = byId("tip");

  function tooltip(handler, event, item, value) {
    if (value === null || value === undefined || value === "") {
      hide();
      return;
    }
    tip.replaceChildren();
    if (typeof value === "object" && "image" in value) {
      const image = data.images[Number(value.image)];
      const from = source(Number(value.image));
      if (from) tip.append(make("img", null, { src: from, alt: "" }));
      tip.append(make("div", image.name));
      tip.append(make("div", [image.split, data.classes[image.label]].filter(Boolean).join(", ")));
    } else if (typeof value === "object") {
      const table = make("table");
      for (const [name, text] of Object.entries(value)) {
        const row = make("tr");
        row.append(make("th", name), make("td", text));
        table.append(row);
      }
      tip.append(table);
    } else {
      tip.textContent = value;
    }
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const x = event.clientX + 14 + box.width > window.innerWidth ? event.clientX - box.width - 14 : event.clientX + 14;
    const y = event.clientY + 14 + box.height > window.innerHeight ? event.clientY - box.height - 14 : event.clientY + 14;
    tip.style.left = Math.max(4, x) + "px";
    tip.style.top = Math.max(4, y) + "px";
  }

  function hide() {
    tip.hidden = true;
  }

  const FINGER = 22; // pixels: as far beside a point as a fingertip reaches

  function tells(element) {
    const item = [element.__data__].flat()[0]; // Vega's renderer notes there what it drew
    return item && item.tooltip !== undefined && item.tooltip !== null ? item : null;
  }

  function tapped(plot, event) {
    if (tells(event.target)) return tells(event.target);
    let found = null;
    let least = FINGER;
    for (const element of plot.querySelectorAll(".role-mark path, .role-mark line")) {
      const item = tells(element);
      if (!item) continue;
      const box = element.getBoundingClientRect();
      const across = Math.max(box.left - event.clientX, 0, event.clientX - box.right);
      const down = Math.max(box.top - event.clientY, 0, event.clientY - box.bottom);
      const distance = Math.hypot(across, down);
      if (distance < least) [found, least] = [item, distance];
    }
    return found;
  }

  document.querySelectorAll(".plot").forEach((plot) => plot.addEventListener("click", (event) => {
    if (event.target.closest("details")) return;
    const item = tapped(plot, event);
    tooltip(null, event, item, item && item.tooltip);
  }));
  document.addEventListener("pointerdown", (event) => { if (!event.target.closest(".plot")) hide(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  window.addEventListener("scroll", hide, { passive: true });

  // Figures are drawn when they come near the screen; all of them once the page has nothing else to do, for printing.

  function draw(place, spec, name) {
    const options = {
      renderer: "svg",
      tooltip,
      actions: { export: true, source: false, compiled: false, editor: false },
      i18n: { CLICK_TO_VIEW_ACTIONS: "Save this figure" },
      downloadFileName: name,
    };
    place.dataset.state = "drawing";
    return vegaEmbed(place, spec, options).then(
      (result) => {
        place.dataset.state = "drawn";
        place.setAttribute("role", "figure");
        place.setAttribute("aria-label", spec.description);
        const menu = place.querySelector("summary");
        if (menu) menu.setAttribute("aria-label", "Save this figure: " + spec.description);
        return result;
      },
      (error) => {
        place.dataset.state = "failed";
        place.textContent = "This figure cannot be drawn: " + error.message;
        console.error(error);
      },
    );
  }

  function filled(name, sets) {
    const spec = data.figures[name];
    const there = (layer) => !(layer.data && layer.data.name) || (sets[layer.data.name] || []).length > 0;
    return { ...spec, layer: spec.layer.filter(there), datasets: sets };
  }

  function curvePoints(run, curves) {
    return run.curves
      .filter((point) => curves.includes(point[0]))
      .map(([, curve, epoch, mean, low, high]) => ({ curve, epoch, mean, low, high }));
  }

  function showCurves(place, run, figure, curves, name) {
    const points = curvePoints(run, curves);
    if (points.length) return draw(place, filled(figure, { points, stages: run.stages }), name);
    place.replaceChildren(make("p", "The curves of this run cannot be read."));
    place.dataset.state = "none";
    return undefined;
  }

  const waiting = new Map();
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) drawWaiting(entry.target);
  }, { rootMargin: "300px" });

  function drawWaiting(place) {
    const work = waiting.get(place);
    if (!work) return undefined;
    waiting.delete(place);
    near.unobserve(place);
    return work();
  }

  function later(place, work) {
    waiting.set(place, work);
    near.observe(place);
  }

  document.querySelectorAll("[data-figure]").forEach((place) => {
    const name = place.dataset.figure;
    later(place, () => draw(place, data.figures[name], name));
  });
  document.querySelectorAll("[data-curve]").forEach((place) => {
    const run = data.runs[place.dataset.curve];
    later(place, () => showCurves(place, run, "run_top1", ["val_top1"], place.dataset.curve));
  });

  function drawAll() {
    const next = waiting.keys().next();
    if (next.done) {
      root.dataset.state = "complete";
      return;
    }
    Promise.resolve(drawWaiting(next.value)).then(() => setTimeout(drawAll, 0));
  }

  window.addEventListener("load", () => setTimeout(drawAll, 600));

  return { data, byId, root, make, fillPicture, draw, filled, showCurves, later };
})();
