"use strict";
// One run, closely: its map, confusion, curves and mistakes; filled when a run is chosen.
(() => {
  const { data, byId, root, make, fillPicture, draw, filled, showCurves, later } = page;

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
        : run.phase === 3
        ? "A combination averages what its members say and has no features of its own, so there is no map of them."
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
      return [data.classes[i], ...cells, total ? (counts[i] / total).toFixed(3) : "no images"];
    });
    const caption = "Rows: true class. Columns: what the kept head says. " + split;
    return tableOf(caption, "confusion", ["true \\ said", ...data.classes, "recall"], rows);
  }

  // Of many classes: the pairs most often confused, and each class, the worst first.
  function pairTables(pairs, classes, split) {
    const box = make("div", null, { class: "beside" });
    const worst = classes.filter((c) => c.n).sort((a, b) => a.recall - b.recall || b.n - a.n);
    worst.push(...classes.filter((c) => !c.n));
    box.append(
      tableOf("Recall of each class, lowest first. " + split, "confusion recall", ["class", "n", "recall"],
        worst.map((c) => [c.class, c.n, c.n ? c.recall.toFixed(3) : "no images"])),
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

  function showRecipes(run) {
    byId("recipes").hidden = run.recipes === null;
    if (run.recipes === null) return;
    const { note, titles, rows } = run.recipes;
    byId("recipes-note").textContent = note;
    byId("recipes-table").replaceChildren(tableOf("Recipes tried, the best first", "data", titles, rows));
  }

  function show(name) {
    const run = data.runs[name];
    const facts = byId("facts");
    facts.replaceChildren(...run.facts.flatMap(([what, text]) => [make("dt", what), make("dd", text)]));
    showMap(run);
    showConfusion(run);
    showMistakes(run);
    showRecipes(run);
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
