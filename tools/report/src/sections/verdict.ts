import { type Report } from '../data';
import { h, s } from '../dom';
import { limits, verdictOf } from '../verdict';
import { themeButton } from '../theme';

function logo(): SVGSVGElement {
  const orbit = (r: number): SVGCircleElement => s('circle', { cx: 16, cy: 16, r, class: 'orbit' });
  return s(
    'svg',
    { viewBox: '0 0 32 32', class: 'logo', 'aria-hidden': true },
    orbit(7),
    orbit(13),
    s('circle', { cx: 16, cy: 16, r: 3.2, class: 'sun' }),
    s('circle', { cx: 21, cy: 11, r: 1.8, class: 'planet' }),
    s('circle', { cx: 4.4, cy: 21.6, r: 2.4, class: 'planet far' }),
  );
}

const SECTIONS: readonly (readonly [string, string])[] = [
  ['promises', 'Promises'],
  ['latency', 'Latency'],
  ['load', 'Load'],
  ['breakdown', 'Breakdown'],
  ['roofline', 'Roofline'],
  ['worst', 'Worst requests'],
  ['timeline', 'Timeline'],
  ['confidence', 'Confidence'],
  ['settings', 'Settings'],
];

/** Links to the sections that are there. */
export function navigation(page: HTMLElement): HTMLElement {
  const links = SECTIONS.filter(([id]) => page.querySelector(`#${id}`));
  return h('nav', { 'aria-label': 'Sections' }, ...links.map(([id, text]) => h('a', { href: `#${id}` }, text)));
}

/** What stands in the way of reading the numbers as they are. */
function banners(report: Report): HTMLElement[] {
  const out: HTMLElement[] = [];
  const banner = (title: string, text: string): number => out.push(h('div', { class: 'banner', role: 'status' }, h('b', {}, title), ' ', text));
  const missing = report.missing ?? [];
  if (missing.length > 0) {
    const gone = missing.join(', ');
    banner('This run is not complete.', `Its directory lacks ${gone}: it is still going on, was stopped, or was written by another version. What depends on them is left out here.`);
  }
  if (report.summary?.orrery?.interrupted) {
    banner('The run was interrupted.', `These are the requests completed by then; ${String(report.summary.orrery.unfinished ?? 0)} were unfinished.`);
  }
  return out;
}

export function verdictHeader(report: Report): HTMLElement {
  const verdict = verdictOf(report);
  const setup = report.summary?.orrery?.setup;
  const subject = [report.summary?.model_id, setup?.gpu, setup?.parallelism, setup?.engine].filter(Boolean).join(' \u00b7 ');
  const why = report.summary ? limits(report.summary) : [];
  return h(
    'header',
    {},
    h(
      'div',
      { class: 'bar' },
      logo(),
      h('span', { class: 'name' }, 'Orrery'),
      h('span', { class: 'subject' }, subject),
      h('span', { class: 'buttons' }, themeButton(), h('button', { type: 'button', class: 'small', onclick: () => window.print() }, 'Print')),
    ),
    ...banners(report),
    h(
      'div',
      { class: `verdict ${verdict.badge.toLowerCase() || 'plain'}`, id: 'verdict', tabindex: -1 },
      h('h1', {}, verdict.badge ? h('span', { class: 'badge' }, verdict.badge) : null, verdict.text),
      verdict.how ? h('p', { class: 'how' }, verdict.how) : null,
      why.length > 0 ? h('p', { class: 'why' }, h('b', {}, verdict.badge === 'PASS' ? 'Where it stands. ' : 'What limits it. '), why.join(' ')) : null,
    ),
  );
}
