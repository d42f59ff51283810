'use strict';
// Without this script the page is the same, and reloads.
(() => {
  const one = s => document.querySelector(s);
  const root = document.documentElement, lost = one('#lost');
  let ahead = 0; // the connector's clock, less ours
  let heard = 0, failed = 0; // when, by our clock
  root.classList.add('js');

  // The same rule as in the server.
  const span = ms => {
    const s = Math.max(0, Math.round(ms / 1000)), m = Math.floor(s / 60), h = Math.floor(m / 60);
    return s < 60 ? `${s} s` : m < 60 ? `${m} min` : h < 48 ? `${h} h ${String(m % 60).padStart(2, '0')} min`
      : `${Math.floor(h / 24)} d ${h % 24} h`;
  };
  const absolute = (t, now) => {
    const utc = d => d.toISOString(), day = utc(t).slice(0, 10);
    let text = (day === utc(now).slice(0, 10) ? '' : day + ' ') + utc(t).slice(11, 19) + ' UTC';
    const off = t.getTimezoneOffset();
    if (off) {
      const local = utc(new Date(t - off * 60000));
      text += ' · ' + (local.slice(0, 10) === day ? '' : local.slice(5, 10) + ' ') + local.slice(11, 19) + ' local';
    }
    return text;
  };
  const texts = {
    ago: (t, now) => span(now - t) + ' ago',
    for: (t, now) => span(now - t),
    left: (t, now) => span(t - now),
    in: (t, now) => t > now ? 'in ' + span(t - now) : 'due now',
    at: absolute,
  };

  // A text that somebody is selecting stays until they are done.
  const put = (node, text) => {
    const s = getSelection();
    if (node.data === text || !s.isCollapsed && (s.anchorNode === node || s.focusNode === node)) return;
    node.data = text;
  };
  const tick = () => {
    const now = new Date(Date.now() + ahead);
    for (const t of document.querySelectorAll('time')) {
      const text = texts[t.className];
      if (text) put(t.firstChild || t.appendChild(new Text()), text(new Date(t.dateTime), now));
    }
    // Three seconds are for a reconnect, forty for two missed beats.
    const gone = failed && Date.now() - failed > 3000 || Date.now() - heard > 40000;
    lost.hidden = !gone;
    root.classList.toggle('gone', gone);
    document.title = (gone ? '? ' : '') + document.title.replace(/^\? /, '');
  };

  // morph makes the children of a those of b and leaves alone what is the same,
  // so that focus and selection stay. Rows with an id are found by it.
  const morph = (a, b) => {
    let x = a.firstChild;
    const drop = () => { const gone = x; x = x.nextSibling; gone.remove(); };
    for (const y of [...b.childNodes]) {
      let same = y.id && x;
      while (same && same.id !== y.id) same = same.nextSibling;
      while (same && x !== same) drop();
      if (x && y.nodeName === x.nodeName && y.id === x.id) {
        const next = x.nextSibling;
        if (y.nodeType === Node.TEXT_NODE) put(x, y.data);
        else if (y.nodeType === Node.ELEMENT_NODE) {
          for (const { name } of [...x.attributes]) if (!y.hasAttribute(name)) x.removeAttribute(name);
          for (const { name, value } of y.attributes) if (x.getAttribute(name) !== value) x.setAttribute(name, value);
          if (x.nodeName !== 'TIME') morph(x, y); // tick writes those
        }
        x = next;
      } else a.insertBefore(y, x);
    }
    while (x) drop();
  };
  const alive = now => {
    heard = Date.now();
    failed = 0;
    ahead = new Date(now) - heard;
    for (const t of document.querySelectorAll('.asof time')) t.dateTime = now;
  };
  const show = html => {
    const d = new DOMParser().parseFromString(html, 'text/html'), main = d.querySelector('main');
    if (main.dataset.assets !== one('main').dataset.assets) return location.reload();
    document.title = d.title;
    const icon = d.querySelector('link[rel=icon]').getAttribute('href');
    if (one('link[rel=icon]').getAttribute('href') !== icon) one('link[rel=icon]').href = icon;
    morph(one('main'), main);
    alive(main.dataset.now);
    tick();
  };

  const listen = () => {
    const es = new EventSource('events');
    es.onmessage = e => show(JSON.parse(e.data));
    es.addEventListener('beat', e => alive(e.data));
    es.onerror = () => {
      failed ||= Date.now();
      if (es.readyState !== EventSource.CLOSED) return; // it tries again by itself
      // Refused, perhaps because too many pages are open: look like a reload does.
      fetch('.').then(r => r.ok && r.text()).then(html => html && show(html)).catch(() => {});
      setTimeout(listen, 10000);
    };
  };

  document.addEventListener('click', e => {
    const b = e.target.closest('li button');
    if (!b) return;
    const code = b.parentNode.querySelector('code');
    const said = done => {
      b.textContent = done ? 'Copied' : 'Press Ctrl-C';
      setTimeout(() => { b.textContent = 'Copy'; }, 2000);
    };
    const select = () => { // where the page is not on localhost or TLS
      getSelection().selectAllChildren(code);
      said(document.execCommand('copy'));
    };
    if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(() => said(true), select);
    else select();
  });

  alive(one('main').dataset.now);
  tick();
  setInterval(tick, 1000);
  listen();
})();
