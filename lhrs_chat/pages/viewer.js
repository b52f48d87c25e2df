"use strict";
// What the pages share: reading their data, drawing boxes and regions over pictures, cards on pages that are turned.
const data = JSON.parse(document.getElementById("data").textContent);
const PAGE = 12;

function add(parent, name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (className) made.className = className;
  parent.append(made);
  return made;
}

function fill(select, values, all) {
  if (all) add(select, "option", "all").value = "";
  for (const value of values) add(select, "option", value).value = value;
}

const distinct = (name) => [...new Set(data.samples.map((sample) => sample[name]))].sort();

function picture(parent, uri, alt) {
  const shot = add(parent, "div", null, "shot");
  Object.assign(add(shot, "img"), { src: uri, alt });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 1 1");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  shot.append(svg);
  return shot;
}

function outline(shot, points, className, colour) {
  for (const name of ["halo", className]) {
    const polygon = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    polygon.setAttribute("points", points.map((point) => point.join(",")).join(" "));
    polygon.setAttribute("class", name);
    if (colour && name !== "halo") polygon.style.setProperty("--own", colour);
    shot.querySelector("svg").append(polygon);
  }
}

function region(shot, mask, className, alt, colour) {
  if (mask.uri) shot.querySelector("svg").before(Object.assign(add(shot, "img", null, "mask"), { src: mask.uri, alt }));
  for (const ring of mask.rings || []) outline(shot, ring, `region ${className}`, colour);
}

// `shown` gives the samples that the form asks for, `card` draws one, `told` says how many there are.
function pages(form, shown, card, told) {
  const cards = document.getElementById("cards");
  const back = document.getElementById("back");
  const next = document.getElementById("next");
  let at = 0;
  function draw() {
    const found = shown();
    at = Math.max(0, Math.min(at, Math.floor(Math.max(found.length - 1, 0) / PAGE) * PAGE));
    cards.replaceChildren(...found.slice(at, at + PAGE).map(card));
    document.getElementById("count").textContent = told(found.length);
    document.getElementById("where").textContent =
      found.length ? `${at + 1} to ${Math.min(at + PAGE, found.length)} of ${found.length}` : "none";
    back.disabled = at === 0;
    next.disabled = at + PAGE >= found.length;
  }
  function turn(pages) {
    at += pages * PAGE;
    draw();
    document.getElementById("samples").scrollIntoView();
  }
  form.addEventListener("input", () => { at = 0; draw(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  back.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  draw();
}
