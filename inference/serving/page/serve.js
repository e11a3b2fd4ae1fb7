// The page of --task=serve: four jobs, each a form that is sent as it stands.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const JOBS = ["search", "classify", "explain", "caption"];
const POLL_MS = 700;
const METHODS = {
  windows: "a square is greyed out at each place",
  occlusion: "bands are left out in turn",
  attention: "where the model attends, by gradients",
  patches: "each patch compared with the text",
};
let info = null;

// Elements are made by code, never from text, so that no name of a file or
// label is taken for markup.
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

class Refusal extends Error {
  constructor(message, field = "", status = 0, retryAfter = 0) {
    super(message);
    Object.assign(this, { field, status, retryAfter });
  }
}

async function ask(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Refusal("the server does not answer: is it still running?");
  }
  const value = await answer.json().catch(() => ({}));
  if (answer.ok) return value;
  const said = value.error || {};
  throw new Refusal(
    said.message || `the server answered with ${answer.status}`,
    said.field,
    answer.status,
    Number(answer.headers.get("Retry-After")),
  );
}

// Start: what is being loaded, the token, what is served.

async function begin() {
  $("#status").hidden = false;
  for (;;) {
    try {
      info = await ask("v1/info");
      $("#token-form").hidden = true;
      if (info.is_ready) break;
      $("#stage").textContent = `${info.stage} …`;
    } catch (error) {
      if (error.status === 401) return askForToken(error);
      $("#stage").textContent = `${error.message} Trying again …`;
    }
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
  $("#status").hidden = true;
  $("#jobs").hidden = false;
  showAbout();
}

function askForToken(error) {
  $("#status").hidden = true;
  $("#token-form").hidden = false;
  const had = sessionStorage.getItem("token");
  $("#token-error").textContent = had ? "This token is wrong." : "";
  sessionStorage.removeItem("token");
  $("#token").focus();
}

$("#token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("#token").value.trim());
  begin();
});

function showAbout() {
  const { model, gallery } = info;
  const count = gallery.num_pictures.toLocaleString("en");
  const parts = [make("b", { textContent: model.path })];
  if (model.step !== null) parts.push(`, step ${model.step}`);
  if (gallery.kind) parts.push(` · ${count} pictures of `,
    make("b", { textContent: gallery.name }));
  parts.push(` · embeddings of ${model.embed_dim} numbers, ${model.loss} loss`);
  $("#about").replaceChildren(...parts);
  $("#about").hidden = false;
  $("#explain-method").replaceChildren(
    ...info.methods.map((name) => new Option(`${name}: ${METHODS[name]}`, name)));
  showDecoder();
  const is_empty = gallery.num_pictures === 0;
  $("#empty").hidden = !is_empty;
  $("#search form").hidden = is_empty;
  if (!is_empty) return;
  const why = gallery.kind
    ? "The index has no pictures: all of them were marked as removed."
    : "There is nothing to search: the server was started without an index.";
  const path = gallery.name || "FOLDER";
  $("#empty").replaceChildren(
    make("p", {}, make("b", { textContent: why })),
    make("p", { textContent: "Index pictures, and start the server again:" }),
    make("p", {}, make("code", {
      textContent: `python main.py --task=index --init_from=${model.path} --images="photos/*.jpg" --out=${path}` })),
    make("p", {}, make("code", {
      textContent: `python main.py --task=serve --index=${path}` })),
    make("p", { className: "small", textContent: "Classify and Explain work without an index." }),
  );
}

// A model without a decoder says so; one without boxes or captions has no field.
function showDecoder() {
  const tasks = info.decoder ? info.decoder.tasks : [];
  const [writes, finds] = ["caption", "referring"].map((task) => tasks.includes(task));
  $("#mute").hidden = writes || finds;
  $("#caption form").hidden = !(writes || finds);
  $("#caption-text-field").hidden = !finds;
  $("#caption-hint").hidden = !writes;
  $("#mute").replaceChildren(
    make("p", {}, make("b", { textContent: "This model writes no texts." })),
    make("p", { className: "small", textContent: "Serve a run that was trained with config.decoding.weight, or config.captioning.weight, above 0 (docs/captioning.md)." }));
  nameButton();
}

function nameButton() {
  const is_text = $("#caption-text").value.trim();
  $("#caption-button").textContent = is_text ? "Find box" : "Write caption";
}
$("#caption-text").addEventListener("input", nameButton);

// Tabs, by mouse and arrow keys.

function choose(name, focus = false) {
  for (const job of JOBS) {
    const tab = $(`#tab-${job}`);
    tab.setAttribute("aria-selected", String(job === name));
    tab.tabIndex = job === name ? 0 : -1;
    $(`#${job}`).hidden = job !== name;
    if (focus && job === name) tab.focus();
  }
}

JOBS.forEach((job, at) => {
  $(`#tab-${job}`).addEventListener("click", () => choose(job));
  $(`#tab-${job}`).addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: JOBS.length - 1 }[event.key];
    if (step) choose(JOBS[(at + step) % JOBS.length], true);
  });
});

// Pictures: chosen, dropped or pasted.

function pictureField(field) {
  const job = field.closest("form").dataset.job;
  const input = make("input", { type: "file", name: "image", id: `${job}-image`, accept: "image/*" });
  const hint = make("span", { textContent: "Drop a picture here, paste it, or choose a file" });
  const image = make("img", { alt: "", hidden: true });
  const remove = make("button", { type: "button", className: "quiet", textContent: "Remove picture", hidden: true });
  const zone = make("div", { className: "zone" }, hint, image, input, remove);
  const label = make("label", { htmlFor: input.id, textContent: field.dataset.picture });
  if (job === "search") label.append(make("span", { className: "small", textContent: "optional" }));
  field.prepend(label, zone);

  function show() {
    const file = input.files[0];
    if (image.src) URL.revokeObjectURL(image.src);
    image.hidden = remove.hidden = !file;
    hint.textContent = file ? file.name : "Drop a picture here, paste it, or choose a file";
    image.removeAttribute("src");
    if (file) {
      image.src = URL.createObjectURL(file);
      image.alt = `Chosen picture: ${file.name}`;
    }
    complain(field, "");
    const most = info ? info.limits.num_bytes : Infinity;
    if (file && file.size > 0.99 * most) {
      complain(field, `The picture is too large: at most ${Math.floor(most / 2 ** 20)} MiB are taken.`);
      input.value = "";
    }
  }
  field.take = (files) => {
    const held = new DataTransfer();
    if (files[0]) held.items.add(files[0]);
    input.files = held.files;
    show();
  };
  input.addEventListener("change", show);
  image.addEventListener("error", () => { image.hidden = true; });
  remove.addEventListener("click", () => { field.take([]); input.focus(); });
  for (const kind of ["dragenter", "dragover"]) {
    zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
  }
  for (const kind of ["dragleave", "drop"]) {
    zone.addEventListener(kind, () => zone.classList.remove("over"));
  }
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    field.take(event.dataTransfer.files);
  });
}

// A picture that misses its field must not replace the page.
for (const kind of ["dragover", "drop"]) {
  window.addEventListener(kind, (event) => event.preventDefault());
}
document.addEventListener("paste", (event) => {
  const field = $("section:not([hidden]) [data-picture]");
  if (event.clipboardData.files.length && field) field.take(event.clipboardData.files);
});

// Forms.

function complain(field, message) {
  let place = $(".error", field);
  const control = $("input, textarea, select", field);
  if (!place) {
    place = make("p", { className: "error", id: `${control.id}-error` });
    place.setAttribute("role", "alert");
    field.append(place);
    control.setAttribute("aria-describedby", place.id);
  }
  place.textContent = message;
  field.classList.toggle("wrong", Boolean(message));
  control.setAttribute("aria-invalid", String(Boolean(message)));
}

function lines(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean);
}

function bodyOf(form) {
  const body = new FormData();
  for (const control of form.elements) {
    if (!control.name) continue;
    if (control.type === "file") {
      if (control.files[0]) body.append(control.name, control.files[0]);
    } else if (control.tagName === "TEXTAREA") {
      for (const line of lines(control.value)) body.append(control.name, line);
    } else if (control.value.trim()) {
      body.append(control.name, control.value.trim());
    }
  }
  if (form.dataset.job === "search") body.append("thumbnails", "true");
  return body;
}

const WORDS = {
  "query is missing": "Type a sentence, or give a picture.",
  "labels is missing": "Type at least one label.",
  "image is missing": "Give a picture.",
  "text is missing": "Type a text.",
};

async function submitted(event) {
  event.preventDefault();
  const form = event.target;
  const job = form.dataset.job;
  const button = $("button[type=submit]", form);
  const results = $(".results", form.parentElement);
  const general = $(".actions .error", form);
  general.textContent = "";
  $$(".field", form).forEach((field) => complain(field, ""));
  button.disabled = true;
  results.setAttribute("aria-busy", "true");
  const slow = setTimeout(() => results.replaceChildren(
    make("p", { className: "status" }, make("span", { className: "spinner" }), "Working …")), 250);
  try {
    const body = bodyOf(form);
    const asked = job === "caption" && body.has("text") ? "refer" : job;
    const answer = await ask(`v1/${asked}`, { method: "POST", body });
    clearTimeout(slow);
    results.replaceChildren(...SHOWN[asked](answer, body));
  } catch (error) {
    clearTimeout(slow);
    results.replaceChildren();
    if (error.status === 401) {
      $("#jobs").hidden = true;
      askForToken(error);
      return;
    }
    const known = Object.keys(WORDS).find((start) => error.message.startsWith(start));
    const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
    const message = (known ? WORDS[known] : sentence(error.message)) + wait;
    const field = error.field && $(`[data-field="${CSS.escape(error.field)}"]`, form);
    if (field) {
      complain(field, message);
      $("input, textarea, select", field).focus();
    } else {
      general.textContent = message;
    }
  } finally {
    button.disabled = false;
    results.removeAttribute("aria-busy");
  }
}

function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
}

// Results.

function found({ results }) {
  const items = results.map((result) => {
    const shown = result.thumbnail
      ? make("div", { className: "shown" }, make("img", { src: result.thumbnail, alt: result.name }))
      : make("div", { className: "shown none", textContent: "no small picture" });
    const caption = make("div", { className: "caption" },
      make("span", { className: "name", textContent: result.name }),
      make("span", { className: "small", textContent: `${result.score.toFixed(3)} · ${result.key || result.path}` }));
    const item = make("li", {}, shown, caption);
    item.title = [result.path, result.key].filter(Boolean).join(" · ");
    return item;
  });
  return [
    make("p", { className: "small", textContent: `${items.length} results, best first; numbers are cosine similarities.` }),
    make("ol", { className: "grid" }, ...items),
  ];
}

function classified({ labels, loss }) {
  const items = labels.map(({ label, probability, similarity }) => {
    const bar = make("div", { className: "bar" });
    bar.style.width = `${100 * probability}%`;
    const percent = probability < 0.001 && probability > 0 ? "< 0.1" : (100 * probability).toFixed(1);
    const item = make("li", {},
      make("span", { className: "name", textContent: label }),
      make("span", { className: "value", textContent: `${percent} %` }),
      make("div", { className: "track" }, bar));
    item.title = `Cosine similarity ${similarity.toFixed(4)}`;
    return item;
  });
  const meaning = loss === "softmax"
    ? "Probabilities are those of one label among these; they sum to 100 %."
    : "Each label has its own probability; all may be low.";
  return [
    make("p", { className: "small", textContent: meaning }),
    make("ol", { className: "bars panel" }, ...items),
  ];
}

function explained(answer) {
  const number = (value) => value.toPrecision(3);
  const figure = (src, text) => make("figure", {}, make("img", { src, alt: text }), make("figcaption", { textContent: text }));
  return [
    make("p", { textContent: `Cosine similarity of picture and text: ${answer.similarity.toFixed(3)}` }),
    make("div", { className: "pair" },
      figure(answer.picture, "Picture as the model sees it"),
      figure(answer.heat, `Parts that are like the text (${answer.method})`)),
    make("div", { className: "legend" },
      make("span", { textContent: number(answer.low) }),
      make("img", { src: answer.legend, alt: "Colours from the lowest to the highest value" }),
      make("span", { textContent: number(answer.high) })),
    make("p", { className: "small", textContent: sentence(answer.unit) }),
  ];
}

function captioned({ caption, is_whole: isWhole, num_dropped: numDropped }) {
  const notes = [];
  if (!isWhole) notes.push("It was cut at the most tokens that the decoder was taught.");
  if (numDropped) notes.push(`${numDropped} tokens are no text and were left out.`);
  return [
    make("p", { className: "panel written", textContent: caption || "(the decoder wrote no text)" }),
    ...notes.map((note) => make("p", { className: "small", textContent: note })),
  ];
}

function referred({ box, width, height, picture }, body) {
  const text = body.get("text");
  const boxed = make("div", { className: "boxed" },
    make("img", { src: picture, alt: box ? `Picture with the box of: ${text}` : "Picture" }));
  let said = `The decoder wrote no box for “${text}”.`;
  if (box) {
    const [left, top, right, bottom] = box;
    const frame = make("span", { className: "frame" });
    const percent = (value, of) => `${100 * value / of}%`;
    Object.assign(frame.style, { left: percent(left, width), top: percent(top, height),
      width: percent(right - left, width), height: percent(bottom - top, height) });
    boxed.append(frame);
    const pixels = box.map((side) => side.toFixed(0)).join(", ");
    said = `“${text}”: left, top, right, bottom ${pixels} of ${width} × ${height} pixels`;
  }
  return [make("figure", { className: "found" }, boxed, make("figcaption", { textContent: said }))];
}

const SHOWN = { search: found, classify: classified, explain: explained,
  caption: captioned, refer: referred };

$$("[data-picture]").forEach(pictureField);
$$("form[data-job]").forEach((form) => form.addEventListener("submit", submitted));
begin();
