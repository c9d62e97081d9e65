//! One run.

use crate::cli::colour;
use crate::cli::failure::{Failure, note, refuse};
use crate::cli::guest::{Target, quoted, quoted_path};
use crate::cli::output_file::{OutputFile, OutputStream, is_same_file};
use crate::cli::progress;
use crate::cli::replayed::Replayed;
use crate::cli::run::Run;
use crate::cli::run::life::Life;
use crate::cli::run::report::{Asked, Report};
use crate::cli::run::terminal;
use crate::cli::run::watcher::{Trace, Watcher, too_long};
use crate::cli::stdout;
use fencepost::loader::Image;
use fencepost::machine::{Machine, Settings};
use fencepost::schedule::{MOST_CHOICES, Schedule};
use fencepost::testbench::{self, Testbench, Until};
use std::path::Path;
use std::time::Instant;

/// How wide the screen is shown unless `COLUMNS` says how wide the terminal is.
const USUAL_COLUMNS: u32 = 80;

/// A schedule as text up to this long is repeated in the replay line.
const SHORT_SCHEDULE: usize = 400;

/// Where a run that was not recorded could be.
pub(super) const UNRECORDED: &str = "run.schedule";

/// Runs `target` once, as `run` says.
pub(super) fn perform(run: &Run, target: &Target, command_line: Option<String>) -> Result<u8, Failure> {
    let replayed = run.schedule.as_deref().map(Replayed::read).transpose()?;
    let bench = prepare(run, target, command_line, replayed.as_ref())?;
    let image = bench.loaded_image().clone();
    let settings = bench.current_settings().clone();
    // An image that does not fit is refused here, before anything is said about outputs.
    Machine::new(&image, settings.clone())?;
    let outputs = Outputs::check(run, &inputs(run, target, replayed.as_ref()))?;
    let disks = disks(run, &image)?;

    let mut watcher = outputs.watcher(run)?;
    let until = run.until.as_ref().map_or(Until::End, |point| point.until());
    let began = Instant::now();
    let mut finished = match run.interactive {
        Some(interactive) => {
            let (_session, live) = terminal::begin(interactive.place())?;
            bench.run_live(until, live, |line| watcher.take(line))?
        }
        None => bench.run_interruptible(until, |line| watcher.take(line))?,
    };
    let took = began.elapsed();
    let seen = watcher.finish()?;

    let schedule = finished.schedule();
    outputs.write(run, target, &settings, &finished, schedule.as_ref())?;
    commit(&disks, &image, &finished)?;
    let asked = Asked {
        target,
        image: &image,
        settings: &settings,
        seed: replayed.is_none().then(|| run.first_seed()),
        point: run.until.as_ref(),
        took,
        has_rested: run.interactive.is_some(),
        replay: replay(run, target, &settings, replayed.as_ref()),
        explore: replayed.as_ref().and_then(|replayed| explore(run, target, &settings, replayed)),
        story: story(run, target, &settings, replayed.as_ref()),
    };
    let report = Report::new(&mut finished, asked);
    let code = report.exit_code();
    if seen.is_inside_line && stdout::Stdout::is_terminal() {
        note("");
    }
    if run.json {
        stdout::print_json(&report.with_schedule(schedule.map(|schedule| schedule.to_string())))?;
    } else if !run.serial {
        report.sum_up();
    } else if !report.is_complete() {
        report.explain_end();
    }
    if run.show {
        show(&finished)?;
    }
    Ok(code)
}

/// The testbench, ready to run.
fn prepare(
    run: &Run,
    target: &Target,
    command_line: Option<String>,
    replayed: Option<&Replayed>,
) -> Result<Testbench, Failure> {
    let models = run.machine.models();
    let [model] = models[..] else {
        return refuse("several models need --runs N; give one model for a single run");
    };
    let mut bench = run.bench(target, command_line.clone(), model)?;
    if let Some(replayed) = replayed {
        bench = bench.schedule(replayed.schedule.clone())?;
        replayed.agree(&run.machine, command_line.as_deref().or(target.said()))?;
    }
    if run.trace.is_some() {
        bench = bench.trace();
    }
    if run.record.is_none() {
        bench = bench.unrecorded();
    }
    Ok(bench)
}

/// The files that the run reads.
fn inputs<'a>(run: &'a Run, target: &'a Target, replayed: Option<&'a Replayed>) -> Vec<&'a Path> {
    let schedule = replayed.and_then(|replayed| replayed.file.as_deref());
    target.files().into_iter().chain(schedule).chain(run.input.as_deref()).collect()
}

/// The files that the run writes.
struct Outputs {
    record: Option<OutputFile>,
    screenshot: Option<OutputFile>,
    trace: Option<OutputFile>,
    capture: Option<OutputFile>,
    traces_to_stdout: bool,
}

impl Outputs {
    /// Makes sure that all of them can be written.
    fn check(run: &Run, inputs: &[&Path]) -> Result<Outputs, Failure> {
        let is_stdout = |path: &&Path| path.as_os_str() == "-";
        let traces_to_stdout = run.trace.as_deref().as_ref().is_some_and(is_stdout);
        if traces_to_stdout && (run.serial || run.json || run.show) {
            return refuse("--trace - takes standard output for itself; leave --serial, --json and --show out");
        }
        for (flag, path) in [("--record", &run.record), ("--screenshot", &run.screenshot), ("--capture", &run.capture)]
        {
            if path.as_deref().as_ref().is_some_and(is_stdout) {
                return refuse(format!("{flag} needs a file; only --trace can write to standard output"));
            }
        }
        let check = |path: &Option<std::path::PathBuf>| path.as_deref().map(OutputFile::check).transpose();
        let trace = if traces_to_stdout { None } else { check(&run.trace)? };
        let outputs = Outputs {
            record: check(&run.record)?,
            screenshot: check(&run.screenshot)?,
            capture: check(&run.capture)?,
            trace,
            traces_to_stdout,
        };
        let named: Vec<_> = [
            ("--record", &outputs.record),
            ("--screenshot", &outputs.screenshot),
            ("--trace", &outputs.trace),
            ("--capture", &outputs.capture),
        ]
        .into_iter()
        .filter_map(|(flag, output)| Some((flag, output.as_ref()?)))
        .collect();
        OutputFile::all_differ(&named, inputs)?;
        Ok(outputs)
    }

    /// Passes on while the run lasts what these outputs and standard output want.
    fn watcher(&self, run: &Run) -> Result<Watcher, Failure> {
        let file: Option<OutputStream> = self.trace.as_ref().map(OutputFile::begin).transpose()?;
        let trace = match file {
            Some(file) => Trace::File(file),
            None if self.traces_to_stdout => Trace::Stdout,
            None => Trace::None,
        };
        let is_human = !run.json && !run.serial;
        // Who types sees what the guest answers; a trace on the terminal leaves no line for anything else.
        let has_free_line = run.interactive.is_none() && !self.traces_to_stdout;
        let life = (has_free_line && progress::is_drawn()).then(|| Life::new(run.step_limit()));
        Ok(Watcher::new()
            .serial(run.serial || is_human && !self.traces_to_stdout)
            .console(is_human)
            .trace(trace)
            .life(life)
            .other_outputs(self.record.is_some() || self.screenshot.is_some() || self.trace.is_some())
            .recorded(self.record.is_some()))
    }

    /// Writes what is written at the end.
    fn write(
        &self,
        run: &Run,
        target: &Target,
        settings: &Settings,
        finished: &testbench::Run,
        schedule: Option<&Schedule>,
    ) -> Result<(), Failure> {
        if let Some(file) = &self.screenshot {
            file.write(&finished.screen_png())?;
        }
        if let Some(file) = &self.capture {
            file.write(&finished.capture())?;
        }
        if let (Some(file), Some(schedule)) = (&self.record, schedule) {
            if schedule.choices.len() > MOST_CHOICES {
                return refuse(too_long());
            }
            let origin = match (&run.schedule, run.interactive) {
                (None, None) => run.replay_by_seed(target, settings, run.first_seed()),
                (Some(_), _) | (None, Some(_)) => replay_file(target, settings, file.path()) + &run.limits(),
            };
            // A comment ends with its line, and a command line may have several.
            let origin = origin.replace(['\n', '\r'], " ");
            file.write(format!("# {origin}\n{schedule}\n").as_bytes())?;
        }
        Ok(())
    }
}

/// The files that the guest's disks are written into, where that is asked for.
fn disks(run: &Run, image: &Image) -> Result<Vec<OutputFile>, Failure> {
    if !run.commit {
        return Ok(Vec::new());
    }
    let files = run.guest.disk_files(image);
    if files.is_empty() {
        return refuse("--commit writes into the files of disks, and there are none; give some with --disk");
    }
    for (index, file) in files.iter().enumerate() {
        if files[..index].iter().any(|other| is_same_file(other, file)) {
            return refuse(format!(
                "--commit would write two disks into `{}`; give each disk a file of its own",
                file.display()
            ));
        }
    }
    files.iter().map(|file| OutputFile::check(file)).collect()
}

/// Writes each disk that has been written to into its file.
fn commit(files: &[OutputFile], image: &Image, finished: &testbench::Run) -> Result<(), Failure> {
    for ((index, file), before) in files.iter().enumerate().zip(image.disks()) {
        if let Some(mut content) = finished.changed_disk(index) {
            // A file that ends inside a sector keeps its length, unless something has been written behind its end.
            if content.iter().skip(before.len()).all(|byte| *byte == 0) {
                content.truncate(before.len());
            }
            file.write(&content)?;
        }
    }
    Ok(())
}

/// The command line that gives the run again, if it can be said shortly.
fn replay(run: &Run, target: &Target, settings: &Settings, replayed: Option<&Replayed>) -> Option<String> {
    let recorded = run.record.as_deref().or(replayed.and_then(|replayed| replayed.file.as_deref()));
    match (recorded, &run.schedule) {
        // Even what was recorded up to a limit needs the limit: how the run ended, and so its exit code, depends on it.
        (Some(file), _) => Some(replay_file(target, settings, file) + &run.limits()),
        (None, Some(text)) => {
            let is_short = text.len() <= SHORT_SCHEDULE;
            let command = || format!("fencepost run {} --schedule {}", name(target, settings), quoted(text));
            is_short.then(|| command() + &run.limits())
        }
        // What was typed is in no option.
        (None, None) if run.interactive.is_some() => None,
        (None, None) => Some(run.replay_by_seed(target, settings, run.first_seed())),
    }
}

/// The command line that explores from where the schedule ends, if it can be said shortly.
fn explore(run: &Run, target: &Target, settings: &Settings, replayed: &Replayed) -> Option<String> {
    let text = run.schedule.as_deref().filter(|text| text.len() <= SHORT_SCHEDULE);
    let given = replayed.file.as_deref().map(quoted_path).or(text.map(quoted))?;
    Some(explore_by(target, settings, &given))
}

/// The command line that tells the run step by step; where it was not recorded, it is recorded first. `None` where it can be
/// neither.
fn story(run: &Run, target: &Target, settings: &Settings, replayed: Option<&Replayed>) -> Option<String> {
    if let Some(file) = &run.record {
        return Some(explore_by(target, settings, &quoted_path(file)));
    }
    match replayed {
        Some(replayed) => explore(run, target, settings, replayed),
        None if run.interactive.is_some() => None,
        None => {
            let again = run.replay_by_seed(target, settings, run.first_seed());
            let told = explore_by(target, settings, UNRECORDED);
            Some(format!("{again} --record {UNRECORDED}; {told}"))
        }
    }
}

/// The command line that follows the schedule in `given`.
pub(super) fn explore_by(target: &Target, settings: &Settings, given: &str) -> String {
    format!("fencepost explore {} --strategy replay --schedule {given}", name(target, settings))
}

fn replay_file(target: &Target, settings: &Settings, file: &Path) -> String {
    format!("fencepost run {} --schedule {}", name(target, settings), quoted_path(file))
}

fn name(target: &Target, settings: &Settings) -> String {
    target.words(&settings.command_line)
}

/// Shows the screen: in colours on a terminal, in characters elsewhere.
fn show(finished: &testbench::Run) -> Result<(), Failure> {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(USUAL_COLUMNS);
    let coloured = colour::is_wanted(&std::io::stdout());
    let text = match finished.frame() {
        Some(frame) => frame.to_terminal(columns, coloured),
        None => finished.screen_text(),
    };
    if text.trim().is_empty() {
        note("the guest has drawn nothing");
        return Ok(());
    }
    stdout::print(&text)
}
