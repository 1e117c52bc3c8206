"use strict";
// Images that are dropped, chosen or pasted go to /predict, a few at a time; each answer becomes a card.
// Nothing here makes HTML of a name: text goes in as text.
(() => {
  const AT_ONCE = 8; // requests on their way: the server makes batches of them
  const KEPT = 200; // cards on the page
  const TRIES = 20; // while the server is busy
  const byId = (id) => document.getElementById(id);
  const drop = byId("drop"), results = byId("results"), said = byId("said"), token = byId("token");
  const waiting = [];
  let running = 0, sent = 0, answered = 0;

  function make(tag, text, attributes) {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    return element;
  }

  const percent = (p) => (100 * p).toFixed(1) + "%";
  const headers = () => (token ? { Authorization: "Bearer " + token.value.trim() } : {});
  const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

  // One image

  async function ask(file) {
    for (let tries = 1; ; tries += 1) {
      const form = new FormData();
      form.append("images", file, file.name || "pasted image");
      const begin = performance.now();
      const response = await fetch("/predict?top=10&neighbours=5", { method: "POST", body: form, headers: headers() });
      const took = performance.now() - begin;
      if (response.status === 503 && tries < TRIES) {
        await pause(Number(response.headers.get("Retry-After")) || 1);
        continue;
      }
      const answer = await response.json().catch(() => ({}));
      if (!response.ok) {
        const detail = typeof answer.detail === "string" ? answer.detail : "The server said no more.";
        throw new Error(`${detail} (${response.status})`);
      }
      return { image: answer.images[0], seconds: answer.seconds, took };
    }
  }

  function chances(top) {
    const table = make("table", null, { class: "chances" });
    table.append(make("caption", "Probabilities", { class: "hidden" }));
    for (const one of top) {
      const row = make("tr"), cell = make("td"), bar = make("div", null, { class: "bar" });
      bar.style.width = percent(one.probability);
      cell.append(bar);
      row.append(make("th", one.class, { scope: "row" }), cell, make("td", percent(one.probability)));
      table.append(row);
    }
    return table;
  }

  async function fillPicture(place, number) {
    try {
      const response = await fetch(`/neighbours/${number}.jpg`, { headers: headers() });
      if (!response.ok) throw new Error();
      const image = make("img", null, { alt: "" });
      image.src = URL.createObjectURL(await response.blob());
      image.onload = () => URL.revokeObjectURL(image.src);
      place.replaceChildren(image);
    } catch {
      place.textContent = "no picture here";
    }
  }

  function neighbours(near) {
    const list = make("ul", null, { class: "near" });
    for (const one of near) {
      const item = make("li"), picture = make("span", "", { class: "picture" });
      fillPicture(picture, one.number);
      item.append(picture, make("span", one.class, { class: "tag" }));
      item.append(make("span", one.image, { class: "name" }), make("span", "distance " + one.distance.toFixed(3), { class: "name" }));
      list.append(item);
    }
    return list;
  }

  function card(file) {
    const one = make("li", null, { class: "result", "data-state": "waiting" });
    const shown = make("div", null, { class: "shown" }), text = make("div");
    const image = make("img", null, { alt: "" });
    image.onload = () => URL.revokeObjectURL(image.src);
    image.onerror = () => shown.replaceChildren(make("span", "no preview", { class: "muted" }));
    image.src = URL.createObjectURL(file);
    shown.append(image);
    text.append(make("p", file.name || "pasted image", { class: "name" }), make("p", "waiting", { class: "muted" }));
    one.append(shown, text);
    results.prepend(one);
    while (results.children.length > KEPT) results.lastElementChild.remove();
    return { one, text };
  }

  function fill(text, { image, seconds, took }) {
    text.lastElementChild.remove();
    text.append(make("h3", `${image.class} ${percent(image.probability)}`));
    if (image.unlike_training) text.append(make("p", `Unlike the training images (${percent(image.as_far)} of the validation images are as far from them): look yourself.`, { class: "warning" }));
    text.append(chances(image.top));
    if (image.neighbours.length) text.append(make("p", "Nearest training images", { class: "muted" }), neighbours(image.neighbours));
    text.append(make("p", `${took.toFixed(0)} ms, of them ${(1000 * seconds).toFixed(0)} ms in the server`, { class: "muted latency" }));
  }

  async function predict({ file, one, text }) {
    try {
      fill(text, await ask(file));
      one.dataset.state = "done";
    } catch (error) {
      text.lastElementChild.remove();
      text.append(make("p", error.message || "The server cannot be reached.", { class: "bad", role: "alert" }));
      one.dataset.state = "failed";
    }
  }

  // Many images

  function tell() {
    said.textContent = sent ? `${answered} of ${sent} answered` : "";
  }

  async function work() {
    running += 1;
    while (waiting.length) {
      await predict(waiting.shift());
      answered += 1;
      tell();
    }
    running -= 1;
  }

  function take(files) {
    for (const file of files) {
      waiting.push({ file, ...card(file) });
      sent += 1;
    }
    tell();
    while (running < Math.min(AT_ONCE, waiting.length + running)) work();
  }

  document.addEventListener("submit", (event) => event.preventDefault()); // Enter in the field of the token
  byId("files").addEventListener("change", (event) => {
    take(event.target.files);
    event.target.value = "";
  });
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) take(event.clipboardData.files);
  });
  document.documentElement.dataset.state = "ready";
})();
