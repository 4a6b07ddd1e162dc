// What is wrong with how the page is rendered: too wide, too faint, without a name.
const wrong = [];
const root = document.documentElement;
if (root.scrollWidth > window.innerWidth) wrong.push(`${root.scrollWidth} px wide, of ${window.innerWidth}`);
const channels = (text) => {
  const [r, g, b, a] = text.match(/[\d.]+/g).map(Number);
  return [r, g, b, a === undefined ? 1 : a];
};
const behind = (of) => {
  for (; of; of = of.parentElement) {
    const colour = channels(getComputedStyle(of).backgroundColor);
    if (colour[3] === 1) return colour;
    if (colour[3] !== 0) wrong.push(`half transparent: ${of.className}`);
  }
  return [255, 255, 255, 1];
};
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const contrast = (a, b) => {
  const [dark, bright] = [light(a), light(b)].sort((x, y) => x - y);
  return (bright + 0.05) / (dark + 0.05);
};
let least = 99;
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const of = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || of.closest("svg, style")) continue;
  const style = getComputedStyle(of);
  const found = contrast(channels(style.color), behind(of));
  least = Math.min(least, found);
  if (found < 4.5) wrong.push(`contrast ${found.toFixed(2)}: ${texts.currentNode.data.trim().slice(0, 40)}`);
  if (parseFloat(style.fontSize) < 12) wrong.push(`${style.fontSize}: ${texts.currentNode.data.trim().slice(0, 40)}`);
}
// What is drawn must be seen beside what is behind it: 3:1.
for (const rect of document.querySelectorAll(".strip rect.h-ready, .strip rect.h-drain, .strip rect.h-maint, rect.h-line, rect.h-edge")) {
  const found = contrast(channels(getComputedStyle(rect).fill), behind(rect.closest("section, article") || document.body));
  if (found < 3) wrong.push(`contrast ${found.toFixed(2)} of a part ${rect.className.baseVal}`);
}
const levels = [...document.querySelectorAll("h1, h2, h3, h4")].map((h) => Number(h.tagName[1]));
levels.forEach((level, at) => {
  if (level > (at ? levels[at - 1] + 1 : 1)) wrong.push(`a heading of level ${level} after ${levels[at - 1]}`);
});
if (levels.filter((level) => level === 1).length !== 1) wrong.push("not one h1");
const ids = [...document.querySelectorAll("[id]")].map((of) => of.id);
if (new Set(ids).size !== ids.length) wrong.push("an id twice");
for (const of of document.querySelectorAll("[aria-labelledby]"))
  if (!document.getElementById(of.getAttribute("aria-labelledby"))) wrong.push("a label that is not there");
for (const link of document.querySelectorAll('a[href^="#"]'))
  if (!document.getElementById(link.getAttribute("href").slice(1))) wrong.push(`a link to nothing: ${link.href}`);
if (document.querySelector("script, iframe, img, form, input, [style]")) wrong.push("something that has no place here");
return { wrong, least };
