"use strict";
// Nothing here makes HTML of a name: text goes in as text, pictures as data.
(() => {
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

  // The leaderboard

  const board = byId("board");
  const body = board.tBodies[0];
  const lines = Array.from(body.rows);

  function sortBy(column, descending) {
    const numeric = board.tHead.rows[0].cells[column].classList.contains("number");
    const key = (row) => (numeric ? Number(row.cells[column].dataset.key) : row.cells[column].dataset.key);
    const empty = (row) => row.cells[column].textContent === "";
    const compare = (a, b) => (numeric ? key(a) - key(b) : key(a).localeCompare(key(b)));
    // Rows without a value come last, whichever way the others go.
    const sorted = lines.slice().sort((a, b) => empty(a) - empty(b) || (descending ? compare(b, a) : compare(a, b)));
    body.append(...sorted);
    Array.from(board.tHead.rows[0].cells).forEach((cell, place) => {
      cell.setAttribute("aria-sort", place === column ? (descending ? "descending" : "ascending") : "none");
    });
  }

  Array.from(board.tHead.rows[0].cells).forEach((cell, column) => {
    const button = cell.querySelector("button");
    button.addEventListener("click", () => {
      const now = cell.getAttribute("aria-sort");
      const first = cell.classList.contains("number") && cell.dataset.first !== "small";
      sortBy(column, now === "none" ? first : now === "ascending");
    });
  });

  function filter() {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const phase = byId("phase").value;
    let shown = 0;
    for (const row of lines) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(words.every((word) => text.includes(word)) && (!phase || row.dataset.phase === phase));
      shown += row.hidden ? 0 : 1;
    }
    byId("shown").textContent = shown === lines.length ? "" : shown + " of " + lines.length + " runs";
  }

  byId("filter").addEventListener("input", filter);
  byId("phase").addEventListener("change", filter);
  filter();

  // One run

  const choice = byId("choice");

  function checked(name) {
    return document.querySelector("input[name=" + name + "]:checked").value;
  }

  function showMap(run) {
    const place = byId("plot-map");
    const map = run.map === null ? null : data.maps[run.map];
    byId("projection").hidden = map === null;
    byId("map-images").hidden = map === null;
    if (map === null) {
      place.replaceChildren(make("p", run.phase === 2
        ? "The features of a fine-tuned network are not kept, so there is no map of them."
        : "The features of this run are no longer in the cache, or too few for a map."));
      byId("map-note").textContent = "";
      place.dataset.state = "none";
      return;
    }
    const projection = checked("projection");
    const points = map[projection].map(([x, y], i) => {
      const number = data.mapImages[i];
      return { x, y, image: String(number), class: data.classes[data.images[number].label] };
    });
    // Screen readers get the description, and below the map its images by name.
    draw(place, filled("run_map", { points }), "feature-map").then(() => {
      place.querySelectorAll("svg.marks").forEach((svg) => svg.setAttribute("aria-hidden", "true"));
    });
    const held = projection === "pca" ? " The two components hold " + Math.round(100 * map.explained) + "% of the variance." : " Distances between groups mean little in t-SNE.";
    byId("map-note").replaceChildren(
      points.length + " images of all splits.",
      make("span", " Point at one, or tap it, for its picture.", { class: "screen" }),
      held,
    );
  }

  const EACH = 40; // pictures of a class, at most

  function pictured(number, ...texts) {
    const name = data.images[number].name;
    const place = make("span", null, { class: "picture", "data-image": number, "data-alt": name });
    fillPicture(place);
    const item = make("li");
    item.append(place, make("span", name, { class: "name" }), ...texts);
    return item;
  }

  // Filled when it is opened first, and of that each class when that is opened.
  function onceOpen(details, fill) {
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(fill());
    });
    return details;
  }

  function classImages(name, numbers) {
    const most = numbers.length > EACH ? ", the first " + EACH + " shown" : "";
    const details = make("details");
    details.append(make("summary", name + ": " + numbers.length + most));
    return onceOpen(details, () => {
      const list = make("ul", null, { class: "pictures" });
      list.append(...numbers.slice(0, EACH).map((number) => pictured(number)));
      return list;
    });
  }

  onceOpen(byId("map-images"), () => {
    const box = make("div", null, { class: "inner" });
    data.classes.forEach((name, label) => {
      const numbers = data.mapImages.filter((number) => data.images[number].label === label);
      if (numbers.length) box.append(classImages(name, numbers));
    });
    return box;
  });

  function tableOf(caption, kind, titles, rows) {
    const table = make("table", null, { class: kind });
    table.append(make("caption", caption, { class: "hidden" }));
    const head = make("tr");
    head.append(...titles.map((title) => make("th", title, { scope: "col", title })));
    const thead = make("thead");
    thead.append(head);
    const body = make("tbody");
    for (const [name, ...cells] of rows) {
      const row = make("tr");
      row.append(make("th", name, { scope: "row" }), ...cells.map((c) => (c instanceof Element ? c : make("td", c))));
      body.append(row);
    }
    table.append(thead, body);
    return table;
  }

  function matrixTable(matrix, split) {
    const rows = matrix.map((counts, i) => {
      const total = counts.reduce((a, b) => a + b, 0);
      const cells = counts.map((n) => {
        const cell = make("td", n);
        if (total) cell.style.background = "rgba(var(--heat), " + (0.45 * n / total).toFixed(3) + ")";
        return cell;
      });
      return [data.classes[i], ...cells, total ? (counts[i] / total).toFixed(3) : ""];
    });
    const caption = "Rows: true class. Columns: what the kept head says. " + split;
    return tableOf(caption, "confusion", ["true \\ said", ...data.classes, "recall"], rows);
  }

  // Of many classes: the pairs most often confused, and each class, the worst first.
  function pairTables(pairs, classes, split) {
    const box = make("div", null, { class: "beside" });
    const worst = classes.slice().sort((a, b) => a.recall - b.recall || b.n - a.n);
    box.append(
      tableOf("Recall of each class, lowest first. " + split, "confusion recall", ["class", "n", "recall"],
        worst.map((c) => [c.class, c.n, c.n ? c.recall.toFixed(3) : ""])),
      tableOf("Pairs most often confused. " + split, "confusion pairs", ["true", "said", "images"],
        pairs.map(([n, i, j]) => [data.classes[i], data.classes[j], n])),
    );
    return box;
  }

  function showConfusion(run) {
    const split = checked("split");
    const { matrix, pairs } = run.confusion[split];
    byId("confusion").replaceChildren(matrix ? matrixTable(matrix, split) : pairTables(pairs, run.classes[split], split));
  }

  function showMistakes(run) {
    const list = byId("mistakes");
    list.replaceChildren();
    for (const [number, label, predicted, probability] of run.mistakes) {
      list.append(pictured(
        number,
        make("span", data.classes[label], { class: "tag" }),
        make("span", " taken for ", { class: "muted" }),
        make("span", data.classes[predicted] + " " + probability.toFixed(2), { class: "tag" }),
      ));
    }
    const none = run.calibration ? "None." : "The predictions of this run cannot be read.";
    if (!run.mistakes.length) list.append(make("li", none, { class: "wide" }));
  }

  function show(name) {
    const run = data.runs[name];
    const facts = byId("facts");
    facts.replaceChildren(...run.facts.flatMap(([what, text]) => [make("dt", what), make("dd", text)]));
    showMap(run);
    showConfusion(run);
    showMistakes(run);
    showCurves(byId("plot-top1"), run, "run_top1", ["val_top1"], name + "-top1");
    showCurves(byId("plot-loss"), run, "run_loss", ["train_loss", "val_loss"], name + "-loss");
    const place = byId("plot-calibration");
    if (run.calibration) {
      const points = run.calibration.bins.map(([confidence, accuracy, n]) => ({ confidence, accuracy, n }));
      draw(place, filled("run_calibration", { points }), name + "-calibration");
      byId("calibration-note").textContent = "Expected calibration error " + run.calibration.error.toFixed(3) + "; below the diagonal the head is too sure.";
    } else {
      place.replaceChildren(make("p", "No predictions to judge by."));
      byId("calibration-note").textContent = "";
    }
    byId("options").textContent = run.options;
  }

  choice.addEventListener("change", () => show(choice.value));
  document.querySelectorAll("input[name=projection]").forEach((e) => e.addEventListener("change", () => showMap(data.runs[choice.value])));
  document.querySelectorAll("input[name=split]").forEach((e) => e.addEventListener("change", () => showConfusion(data.runs[choice.value])));
  document.querySelectorAll("[data-run]").forEach((link) => link.addEventListener("click", () => {
    choice.value = link.dataset.run;
    show(choice.value);
  }));
  // The page opens with the best run that has a map of its features.
  const mapped = Array.from(choice.options).find((option) => data.runs[option.value].map !== null);
  if (mapped) choice.value = mapped.value;
  later(byId("panel"), () => show(choice.value));
  root.dataset.state = "ready";
})();
