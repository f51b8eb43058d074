//! A deployment as people watch it: a tree of steps on a terminal, plain lines without one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use panda_api_types::{DeployStep, Deployment};

use crate::output::Output;
use crate::sanitize::{Colours, clean};

/// Shows what goes on. On JSON output nothing is shown.
pub(crate) enum Progress {
    /// Bars that are redrawn.
    Tree(Tree),
    /// A line for each change.
    Plain(Plain),
    /// Nothing.
    Silent,
}

impl Progress {
    /// Chooses by where stderr goes.
    pub(crate) fn new(out: &Output) -> Self {
        if out.json {
            Self::Silent
        } else if out.talks_to_person {
            Self::Tree(Tree { bars: MultiProgress::new(), steps: Vec::new() })
        } else {
            Self::Plain(Plain { out: out.clone(), shown: BTreeMap::new(), ended: None })
        }
    }

    /// Shows a new state.
    pub(crate) fn state(&mut self, deployment: &Deployment) {
        let word = deployment.state.replace('_', " ");
        match self {
            Self::Tree(tree) => tree.state(&word),
            Self::Plain(plain) => {
                // How it ended is told by who follows it.
                if deployment.active && plain.changed("", &word) {
                    plain.say(&word);
                }
            }
            Self::Silent => {}
        }
    }

    /// Shows a step.
    pub(crate) fn step(&mut self, step: &DeployStep) {
        match self {
            Self::Tree(tree) => tree.step(step),
            Self::Plain(plain) => plain.step(step),
            Self::Silent => {}
        }
    }

    /// Shows a line of a step's log.
    pub(crate) fn log(&mut self, step: &str, line: &str) {
        match self {
            Self::Tree(tree) => tree.log(step, line),
            Self::Plain(plain) => plain.say(&format!("    | {line}")),
            Self::Silent => {}
        }
    }

    /// Says something between the steps.
    pub(crate) fn note(&mut self, text: &str) {
        match self {
            Self::Tree(tree) => tree.print(text),
            Self::Plain(plain) => plain.say(text),
            Self::Silent => {}
        }
    }

    /// Returns a counter of bytes to send.
    pub(crate) fn transfer(&self, total: u64, files: usize) -> ProgressBar {
        match self {
            Self::Tree(tree) => {
                let style = ProgressStyle::with_template(
                    "{spinner:.cyan} sending {msg} {bytes}/{total_bytes} {bar:24} {eta}",
                );
                let bar = ProgressBar::new(total).with_style(style.expect("the template is ours"));
                // Only then: before it belongs to the others it would draw a line of its own, which stays.
                let bar = tree.bars.add(bar);
                bar.set_message(counted(files, "file"));
                bar
            }
            _ => ProgressBar::hidden(),
        }
    }

    /// Leaves the screen as it is.
    pub(crate) fn finish(&mut self) {
        match self {
            Self::Tree(tree) => {
                for shown in tree.steps.iter().filter(|shown| !shown.bar.is_finished()) {
                    shown.bar.abandon();
                }
            }
            Self::Plain(plain) => plain.flush(),
            Self::Silent => {}
        }
    }
}

/// Returns `1 file`, `3 files`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Returns a time as people say it: `0.4s`, `12s`, `2m 5s`.
pub(crate) fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=9 => format!("{:.1}s", time.as_secs_f64()),
        10..=59 => format!("{seconds}s"),
        _ => format!("{}m {}s", seconds / 60, seconds % 60),
    }
}

/// Lines, one a change.
pub(crate) struct Plain {
    out: Output,
    shown: BTreeMap<String, String>,
    /// The end of the newest step: a step may end more than once (an image's layers), and only the last time counts.
    ended: Option<(String, String)>,
}

impl Plain {
    fn say(&mut self, text: &str) {
        self.flush();
        self.out.say(text);
    }

    fn flush(&mut self) {
        if let Some((_, text)) = self.ended.take() {
            self.out.say(&text);
        }
    }

    fn step(&mut self, step: &DeployStep) {
        let indent = "  ".repeat(step.key.matches('/').count() + 1);
        let detail = step.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let text = match step.state.as_str() {
            "running" => format!("{indent}{}{detail}", step.title),
            "skipped" => format!("{indent}skipped {}{detail}", step.title),
            "cached" => format!("{indent}cached {}{detail}", step.title),
            state => {
                let time = spoken(Duration::from_millis(step.elapsed_ms));
                format!("{indent}{state} {} in {time}{detail}", step.title)
            }
        };
        if !self.changed(&step.key, &text) {
            return;
        }
        if self.ended.as_ref().is_some_and(|(key, _)| *key == step.key) {
            self.ended = None;
        }
        if step.state == "running" {
            self.say(&text);
        } else {
            self.flush();
            self.ended = Some((step.key.clone(), text));
        }
    }

    fn changed(&mut self, key: &str, text: &str) -> bool {
        self.shown.insert(key.to_owned(), text.to_owned()).as_deref() != Some(text)
    }
}

/// Bars, one a step.
pub(crate) struct Tree {
    bars: MultiProgress,
    steps: Vec<Shown>,
}

struct Shown {
    key: String,
    title: String,
    bar: ProgressBar,
}

impl Tree {
    fn state(&mut self, word: &str) {
        let running = matches!(word, "queued" | "building" | "releasing" | "rolling");
        if running && !self.steps.iter().any(|shown| shown.key.is_empty() && shown.title == word) {
            let style = ProgressStyle::with_template("{wide_msg}").expect("the template is ours");
            let bar = self.bars.add(ProgressBar::new_spinner().with_style(style));
            bar.finish_with_message(format!("● {word}"));
            self.steps.push(Shown { key: String::new(), title: word.to_owned(), bar });
        }
    }

    fn step(&mut self, step: &DeployStep) {
        let detail = step.detail.as_deref().map(|detail| format!("  {detail}")).unwrap_or_default();
        let title = clean(&format!("{}{detail}", step.title), Colours::Drop);
        let index = self.find_or_add(step);
        let shown = &mut self.steps[index];
        shown.title.clone_from(&title);
        if step.state == "running" {
            shown.bar.set_message(title);
            return;
        }
        let indent = indent_of(&step.key);
        let time = spoken(Duration::from_millis(step.elapsed_ms));
        let (sign, tail) = match step.state.as_str() {
            "done" => ("✓", time),
            "cached" => ("✓", "cached".to_owned()),
            "skipped" => ("-", "skipped".to_owned()),
            _ => ("✗", format!("failed after {time}")),
        };
        let style = ProgressStyle::with_template("{wide_msg}").expect("the template is ours");
        shown.bar.set_style(style);
        shown.bar.finish_with_message(format!("{indent}{sign} {title}  {tail}"));
    }

    fn log(&mut self, step: &str, line: &str) {
        if let Some(shown) = self.steps.iter().find(|shown| shown.key == step) {
            let line = clean(line, Colours::Drop).replace('\n', " ");
            shown.bar.set_message(format!("{}  {line}", shown.title));
        }
    }

    fn print(&self, text: &str) {
        // When the terminal is gone there is nobody to tell.
        let _ = self.bars.println(clean(text, Colours::Keep));
    }

    /// Returns the step under the same parent that was shown last, or the parent.
    fn last_sibling(&self, key: &str) -> Option<usize> {
        let (parent, _) = key.rsplit_once('/')?;
        let below = format!("{parent}/");
        self.steps.iter().rposition(|shown| shown.key == parent || shown.key.starts_with(&below))
    }

    fn find_or_add(&mut self, step: &DeployStep) -> usize {
        if let Some(index) = self.steps.iter().position(|shown| shown.key == step.key) {
            return index;
        }
        let indent = indent_of(&step.key);
        let template = format!("{indent}{{spinner:.cyan}} {{wide_msg}} {{elapsed}}");
        let style = ProgressStyle::with_template(&template).expect("the template is ours");
        let started = Instant::now().checked_sub(Duration::from_millis(step.elapsed_ms));
        let elapsed = started.map_or(Duration::ZERO, |started| started.elapsed());
        let bar = ProgressBar::new_spinner().with_style(style).with_elapsed(elapsed);
        let bar = match self.last_sibling(&step.key) {
            Some(sibling) => self.bars.insert_after(&self.steps[sibling].bar, bar),
            None => self.bars.add(bar),
        };
        bar.enable_steady_tick(Duration::from_millis(120));
        self.steps.push(Shown { key: step.key.clone(), title: step.title.clone(), bar });
        self.steps.len() - 1
    }
}

fn indent_of(key: &str) -> String {
    "  ".repeat(key.matches('/').count() + 1)
}
