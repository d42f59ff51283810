// Evaluates to a list of the texts in the page whose contrast is below 4.5, which
// is what WCAG 2 asks of text of normal size for level AA.
(() => {
  const parse = c => { const n = c.match(/[\d.]+/g).map(Number); return { r: n[0], g: n[1], b: n[2], a: n[3] ?? 1 }; };
  const over = (top, below) => ({
    r: top.r * top.a + below.r * (1 - top.a), g: top.g * top.a + below.g * (1 - top.a), b: top.b * top.a + below.b * (1 - top.a), a: 1,
  });
  const light = c => [c.r, c.g, c.b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = e => {
    const layers = [];
    for (; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), { r: 255, g: 255, b: 255, a: 1 });
  };
  const faults = new Set();
  const check = (e, style, text) => {
    const below = ground(e), a = light(over(parse(style.color), below)), b = light(below);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faults.add(`${ratio.toFixed(2)} of ${style.color} in ${e.tagName}.${e.className}: ${text.slice(0, 60)}`);
  };
  let texts = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walk.nextNode(); n; n = walk.nextNode()) {
    const e = n.parentElement;
    if (!n.data.trim() || !e.checkVisibility()) continue;
    texts++;
    check(e, getComputedStyle(e), n.data);
  }
  for (const e of document.querySelectorAll('[data-label]')) {
    const style = getComputedStyle(e, '::before');
    if (style.content !== 'none') check(e, style, style.content);
  }
  if (texts < 30) faults.add(`of ${texts} texts only: the check sees too little`);
  return [...faults];
})()
