type Child = Node | string | null | undefined | false;
type Attributes = Record<string, string | number | boolean | undefined | ((event: Event) => void)>;

const SVG = 'http://www.w3.org/2000/svg';

function fill<E extends Element>(element: E, attributes: Attributes, children: readonly Child[]): E {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name.replace(/^on/, ''), value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  for (const child of children) if (child) element.append(child);
  return element;
}

/** An HTML element: h('p', { class: 'note' }, 'text', h('b', {}, 'more')). */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** A section of the page, with its heading and what stands beside it. */
export function section(id: string, title: string, lead: Child | Child[], ...children: Child[]): HTMLElement {
  const leads = Array.isArray(lead) ? lead : [lead];
  return h(
    'section',
    { id, 'aria-labelledby': `${id}-title` },
    h('h2', { id: `${id}-title` }, title),
    leads.some(Boolean) ? h('p', { class: 'lead' }, ...leads) : null,
    ...children,
  );
}

export function card(attributes: Attributes, ...children: Child[]): HTMLElement {
  const extra = attributes['class'];
  return h('div', { ...attributes, class: `card${extra ? ` ${String(extra)}` : ''}` }, ...children);
}

/** One of several views of the same numbers: a group of radio buttons that looks like a switch. */
export function choice<T extends string>(
  label: string,
  options: readonly { value: T; label: string }[],
  chosen: T,
  onChange: (value: T) => void,
): HTMLElement {
  const name = `choice-${label.replace(/\W+/g, '-').toLowerCase()}`;
  return h(
    'fieldset',
    { class: 'choice' },
    h('legend', { class: 'hidden' }, label),
    ...options.map((o) =>
      h(
        'label',
        {},
        h('input', { type: 'radio', name, value: o.value, checked: o.value === chosen, onchange: () => onChange(o.value) }),
        h('span', {}, o.label),
      ),
    ),
  );
}

/** A table whose first column names the row; numbers are set right. */
export function table(caption: string, head: readonly string[], rows: readonly (readonly Child[])[]): HTMLElement {
  return h(
    'div',
    { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    h(
      'table',
      {},
      h('caption', { class: 'hidden' }, caption),
      h('thead', {}, h('tr', {}, ...head.map((text) => h('th', { scope: 'col' }, text)))),
      h(
        'tbody',
        {},
        ...rows.map((row) =>
          h('tr', {}, ...row.map((cell, i) => (i === 0 ? h('th', { scope: 'row' }, cell) : h('td', {}, cell)))),
        ),
      ),
    ),
  );
}

export function fold(summary: string, ...children: Child[]): HTMLElement {
  return h('details', {}, h('summary', {}, summary), ...children);
}

/** A button that saves columns as a CSV file. */
export function csvButton(name: string, columns: () => Record<string, readonly (number | string)[]>): HTMLElement {
  const save = (): void => {
    const table = columns();
    const names = Object.keys(table);
    const rows = Math.max(0, ...names.map((n) => table[n]?.length ?? 0));
    const lines = [names.join(',')];
    for (let i = 0; i < rows; i += 1) lines.push(names.map((n) => String(table[n]?.[i] ?? '')).join(','));
    const url = URL.createObjectURL(new Blob([`${lines.join('\n')}\n`], { type: 'text/csv' }));
    const link = h('a', { href: url, download: `${name}.csv` });
    link.click();
    URL.revokeObjectURL(url);
  };
  return h('button', { type: 'button', class: 'small', 'aria-label': `Download ${name} as CSV`, onclick: save }, 'CSV');
}

/** A button that copies text, and says so. */
export function copyButton(text: string, label: string): HTMLElement {
  const button = h('button', { type: 'button', class: 'small', 'aria-live': 'polite' }, label);
  const say = (word: string): void => {
    button.textContent = word;
    setTimeout(() => (button.textContent = label), 1500);
  };
  button.addEventListener('click', () => {
    const area = h('textarea', { readonly: true, class: 'hidden' });
    area.value = text;
    const byHand = (): void => {
      document.body.append(area);
      area.select();
      say(document.execCommand('copy') ? 'Copied' : 'Press Ctrl+C');
      area.remove();
    };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => say('Copied'), byHand);
    else byHand();
  });
  return button;
}

/** Calls `draw` with the width of `host` now and whenever it changes. */
export function fitted(host: HTMLElement, draw: (width: number) => void): void {
  let last = 0;
  const redraw = (): void => {
    const width = Math.floor(host.clientWidth);
    if (width > 0 && width !== last) {
      last = width;
      draw(width);
    }
  };
  new ResizeObserver(redraw).observe(host);
  redraw();
}
