"use strict";
// Text from files is only ever set as textContent: never as HTML.
const $ = (id) => document.getElementById(id);
const number = (value, digits = 0) =>
  value === null || value === undefined ? "∞" : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const seconds = (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`);

let about = null; // of the whole page
let open = null; // the picture that is shown
let turn = 0; // answers to older questions are dropped
let search = 0;

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the page's program does not answer. Was it ended? Start bifocal view again.");
  }
  const text = await answer.text();
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Error(`unexpected answer (${answer.status})`);
  }
  if (!answer.ok) throw new Error(found.error || `error ${answer.status}`);
  return found;
}

function complain(error) {
  $("problem").textContent = error ? error.message : "";
  $("problem").hidden = !error;
}

function made(tag, text, kind) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

function loaded(image, address) {
  return new Promise((done, failed) => {
    image.onload = () => done();
    image.onerror = () => failed(new Error("a picture could not be loaded"));
    image.src = address;
  });
}

const address = (what) => `api/pictures/${open.id}/${what}`;
const quality = () => Number($("quality").value);
const readable = () => (open.stream ? 0 : quality()); // a stream is read as it is

// What is open

async function take(promise) {
  complain(null);
  $("busy").textContent = "opening …";
  try {
    open = await promise;
    await show();
  } catch (error) {
    complain(error);
  }
  $("busy").textContent = "";
  document.body.dataset.state = `opened ${Date.now()}`;
}

function upload(file) {
  if (!file) return;
  if (file.size > about.upload) {
    complain(new Error(`${file.name} has ${number(file.size)} bytes; the page takes at most ${number(about.upload)}. Start it with a larger --max-upload.`));
    return;
  }
  take(ask(`api/pictures?name=${encodeURIComponent(file.name)}`, { method: "PUT", body: file }));
}

async function show() {
  $("gallery").hidden = true;
  $("viewer").hidden = false;
  $("back").hidden = !about.files;
  $("name").textContent = open.name;
  const [left, top, right, bottom] = open.window;
  const part = open.whole ? "" : ` The page works on ${right - left}×${bottom - top} pixels of its middle.`;
  $("about").textContent = `${open.width}×${open.height}, ${number(open.bytes)} bytes, ${open.about}.${part}`;
  $("caption").textContent = open.caption;
  $("veil").hidden = true;
  $("low").hidden = true;
  $("boxes").replaceChildren();
  $("found").replaceChildren();
  $("detector").hidden = !about.detector;
  $("against").value = "original";
  await loaded($("left"), address("original.png"));
  await update();
}

function zoom() {
  const factor = $("zoom").value;
  $("stage").classList.toggle("fit", factor === "fit");
  const width = open.window[2] - open.window[0];
  $("right").style.width = factor === "fit" ? "" : `${width * Number(factor)}px`;
  $("right").style.imageRendering = factor === "fit" || factor === "1" ? "" : "pixelated";
  $("left").style.imageRendering = $("right").style.imageRendering;
}

// A quality

async function update() {
  const mine = ++turn;
  const q = quality();
  $("quality-shown").textContent = q;
  $("busy").textContent = "encoding …";
  complain(null);
  try {
    const coded = await ask(`${address("coded")}?quality=${q}`);
    if (mine !== turn) return;
    await loaded($("right"), `${address("coded.png")}?quality=${q}`);
    if (mine !== turn) return;
    zoom();
    $("save").href = `${address("coded.bfc")}?quality=${q}`;
    $("save").download = `${open.name.replace(/\.[^.]*$/, "")}.bfc`;
    const pixels = (open.window[2] - open.window[0]) * (open.window[3] - open.window[1]);
    const rows = [["Bifocal", coded.bytes, coded.bpp, coded.psnr]];
    if (open.whole) rows.push([open.stream ? "the stream" : "the file", open.bytes, (8 * open.bytes) / pixels, undefined]);
    figures(rows);
    $("times").textContent = `Encoded in ${seconds(coded.encode)}, decoded in ${seconds(coded.decode)}.`;
    document.body.dataset.coded = q;
    await compare(mine, rows, pixels);
    await labels(mine);
  } catch (error) {
    if (mine === turn) complain(error);
  }
  if (mine === turn) $("busy").textContent = "";
}

function figures(rows) {
  $("figures").replaceChildren(
    ...rows.map(([name, bytes, bpp, psnr]) => {
      const row = made("tr");
      row.append(made("td", name, "l"), made("td", number(bytes)), made("td", number(bpp, 3)), made("td", psnr === undefined ? "–" : number(psnr, 2)));
      return row;
    })
  );
}

async function compare(mine, rows, pixels) {
  const codec = $("against").value;
  $("left-name").textContent = codec === "original" ? "original" : codec;
  if (codec === "original") {
    await loaded($("left"), address("original.png"));
  } else {
    $("busy").textContent = `searching ${codec} of as many bytes …`;
    const question = `?codec=${codec}&quality=${quality()}`;
    const peer = await ask(address("peer") + question);
    if (mine !== turn) return;
    await loaded($("left"), address("peer.png") + question);
    if (mine !== turn) return;
    const uneven = Math.abs(peer.bytes / rows[0][1] - 1) > 0.1 ? ", the nearest that it has" : "";
    rows.splice(1, 0, [`${codec}, its quality ${peer.quality}${uneven}`, peer.bytes, (8 * peer.bytes) / pixels, peer.psnr]);
    figures(rows);
  }
  document.body.dataset.compared = `${codec} ${quality()}`;
}

async function labels(mine) {
  $("busy").textContent = "reading labels …";
  const found = await ask(`${address("labels")}?quality=${readable()}`);
  if (mine !== turn) return;
  const shown = found.labels.map(({ name, probability }, index) => {
    const button = made("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.disabled = !found.evidence || (open.stream && !open.whole);
    button.append(made("span", `${name} ${(100 * probability).toFixed(1)} %`));
    const meter = made("span", undefined, "meter");
    const bar = made("i");
    bar.style.width = `${100 * probability}%`;
    meter.append(bar);
    button.append(meter);
    button.addEventListener("click", () => evidence(index));
    return button;
  });
  $("labels").replaceChildren(...shown);
  $("veil").hidden = true;
  const decoded = found.decode === null ? "" : ` Decoding the picture takes ${seconds(found.decode)}.`;
  const trust = found.confident ? "" : " It is not confident.";
  $("reading").textContent = `Read in ${seconds(found.seconds)}, without decoding the picture.${trust}${decoded} ${shown.length && !shown[0].disabled ? "Choose a label to see its evidence." : ""}`;
}

async function evidence(index) {
  const buttons = [...$("labels").children];
  const on = buttons[index].getAttribute("aria-pressed") === "true";
  buttons.forEach((button) => button.setAttribute("aria-pressed", "false"));
  $("veil").hidden = true;
  if (on) return;
  buttons[index].setAttribute("aria-pressed", "true");
  try {
    await loaded($("veil"), `${address("evidence.png")}?quality=${readable()}&class=${index}`);
    $("veil").hidden = false;
  } catch (error) {
    complain(error);
  }
}

async function play() {
  try {
    const q = readable();
    const found = await ask(`${address("low")}?quality=${q}`);
    await loaded($("low"), `${address("low.png")}?quality=${q}`);
    $("low").hidden = false;
    const share = found.bytes === null ? "" : ` It needs about ${number(found.bytes)} of ${number(found.of)} bytes, ${((100 * found.bytes) / found.of).toFixed(0)} %.`;
    $("low-note").textContent = `First: ${found.width}×${found.height} pixels of the low band, decoded in ${seconds(found.seconds)}.${share} Then the whole.`;
    document.body.dataset.low = "shown";
    setTimeout(() => loaded($("low"), $("right").src).catch(() => {}), 1500);
  } catch (error) {
    complain(error);
  }
}

async function find() {
  try {
    const found = await ask(`${address("boxes")}?quality=${quality()}`);
    const [left, top, right, bottom] = open.window;
    $("boxes").setAttribute("viewBox", `0 0 ${right - left} ${bottom - top}`);
    $("boxes").replaceChildren(
      ...found.boxes.map(({ box }) => {
        const drawn = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        const [x, y, x2, y2] = box;
        Object.entries({ x, y, width: x2 - x, height: y2 - y }).forEach(([key, value]) => drawn.setAttribute(key, value));
        return drawn;
      })
    );
    $("found").replaceChildren(...found.boxes.map((box) => made("li", `${box.name} ${(100 * box.score).toFixed(0)} %`)));
  } catch (error) {
    complain(error);
  }
}

// The curtain

function cut(share) {
  const value = Math.min(100, Math.max(0, share));
  $("stage").style.setProperty("--cut", `${value}%`);
  $("curtain").setAttribute("aria-valuenow", Math.round(value));
}

function drag(event) {
  const area = $("stage").getBoundingClientRect();
  cut((100 * (event.clientX - area.left)) / area.width);
}

$("curtain").addEventListener("pointerdown", (event) => {
  $("curtain").setPointerCapture(event.pointerId);
  $("curtain").onpointermove = drag;
});
$("curtain").addEventListener("pointerup", () => ($("curtain").onpointermove = null));
$("curtain").addEventListener("pointercancel", () => ($("curtain").onpointermove = null));
$("curtain").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -2, ArrowRight: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  cut(Number($("curtain").getAttribute("aria-valuenow")) + step);
});

// The gallery

async function gallery(first) {
  const mine = ++search;
  try {
    const found = await ask(`api/gallery?first=${first}&search=${encodeURIComponent($("search").value)}`);
    if (mine !== search) return;
    if (!first) $("thumbs").replaceChildren();
    $("gallery-title").textContent = `${number(found.total)} files`;
    $("thumbs").append(...found.rows.map(thumb));
    $("more").hidden = first + found.rows.length >= found.total;
    $("more").onclick = () => gallery(first + found.rows.length);
    document.body.dataset.found = found.total;
  } catch (error) {
    complain(error);
  }
}

function thumb(row) {
  const button = made("button");
  button.type = "button";
  const image = made("img");
  image.alt = "";
  image.loading = "lazy";
  if (!row.error) image.src = `api/gallery/${row.number}/thumbnail`;
  const size = row.width ? `${row.width}×${row.height}, ` : "";
  button.append(image, made("b", row.name), made("span", row.error || `${size}${number(row.bytes)} bytes, ${row.about}`));
  if (row.caption) button.append(made("span", row.caption));
  button.addEventListener("click", () => take(ask(`api/gallery/${row.number}/open`, { method: "PUT" })));
  const item = made("li");
  item.append(button);
  return item;
}

async function savings() {
  $("saved").textContent = "encoding a few …";
  try {
    const found = await ask(`api/gallery/savings?quality=${quality()}`);
    $("saved").textContent = found.sampled
      ? `About ${number(found.saved / 1e6, 1)} of ${number(found.bytes / 1e6, 1)} MB at quality ${quality()}, estimated from ${found.sampled} of ${found.pictures} pictures.`
      : "There are no pictures that could be converted.";
  } catch (error) {
    $("saved").textContent = "";
    complain(error);
  }
}

function back() {
  if (!about.files) return;
  $("viewer").hidden = true;
  $("gallery").hidden = false;
}

// Events

let waiting = 0;
$("quality").addEventListener("input", () => {
  $("quality-shown").textContent = quality();
  clearTimeout(waiting);
  waiting = setTimeout(update, 150);
});
$("against").addEventListener("change", update);
$("zoom").addEventListener("change", zoom);
$("file").addEventListener("change", () => upload($("file").files[0]));
$("play").addEventListener("click", play);
$("find").addEventListener("click", find);
$("back").addEventListener("click", back);
$("savings").addEventListener("click", savings);
$("search").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => gallery(0), 200);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") upload(event.dataTransfer.files[0]);
  });
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || !open) return;
  const step = { "[": -5, "]": 5 }[event.key];
  if (step) {
    $("quality").value = quality() + step;
    update();
  } else if (event.key >= "1" && event.key <= "4") {
    $("against").selectedIndex = Number(event.key) - 1;
    update();
  } else if (event.key === "e" || event.key === "E") {
    if ($("labels").children.length && !$("labels").children[0].disabled) evidence(0);
  } else if (event.key === "l" || event.key === "L") {
    play();
  } else if (event.key === "Escape") {
    back();
  }
});

(async () => {
  try {
    about = await ask("api/start");
    for (const codec of about.peers) {
      const option = made("option", `${codec}, equal bytes`);
      option.value = codec;
      $("against").append(option);
    }
    if (about.files === 1) await take(ask("api/gallery/0/open", { method: "PUT" }));
    else if (about.files) {
      $("gallery").hidden = false;
      await gallery(0);
    }
    document.body.dataset.ready = "yes";
  } catch (error) {
    complain(error);
  }
})();
