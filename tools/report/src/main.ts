import './style.css';
import { type Report } from './data';
import { h } from './dom';
import { breakdownSection, worstSection } from './sections/breakdown';
import { fairnessSection } from './sections/fairness';
import { latencySection } from './sections/latency';
import { loadSection } from './sections/load';
import { overview } from './sections/overview';
import { poolsSection } from './sections/pools';
import { confidenceSection, settingsSection } from './sections/record';
import { rooflineSection, timelineSection } from './sections/steps';
import { navigation, verdictHeader } from './sections/verdict';
import { startTheme } from './theme';

const SECTIONS: readonly ((report: Report) => HTMLElement | null)[] = [
  overview,
  latencySection,
  loadSection,
  breakdownSection,
  fairnessSection,
  poolsSection,
  rooflineSection,
  worstSection,
  timelineSection,
  confidenceSection,
  settingsSection,
];

/** A section that cannot be drawn says so; the others are shown. */
function drawn(section: (report: Report) => HTMLElement | null, report: Report): HTMLElement | null {
  try {
    return section(report);
  } catch (error) {
    return h('section', {}, h('div', { class: 'banner', role: 'alert' }, h('b', {}, 'A part of this report could not be drawn.'), ` ${String(error)}`));
  }
}

function read(): Report {
  const text = document.getElementById('orrery-data')?.textContent ?? '{}';
  return JSON.parse(text) as Report;
}

startTheme();
const report = read();
const page = document.getElementById('page');
if (page) {
  page.append(verdictHeader(report));
  const main = h('main');
  page.append(main);
  for (const section of SECTIONS) {
    const element = drawn(section, report);
    if (element) main.append(element);
  }
  page.insertBefore(navigation(main), main);
  page.append(h('footer', {}, `Orrery ${report.orrery_version ?? ''} \u00b7 a prediction, not a measurement: see how sure it is above.`));
  const model = report.summary?.model_id;
  if (model) document.title = `${model} \u2013 Orrery report`;
}
