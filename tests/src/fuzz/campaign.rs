//! Many cases in worker processes, and what came of them.

use super::{CASE, Kind, LONGEST_CASE, PEAK, WRONG};
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A worker is replaced after this many cases, so that all processors are busy to the end.
const CASES_A_WORKER: u64 = 1000;

/// Cases to be run.
pub struct Campaign<'a> {
    /// What is fuzzed.
    pub kind: Kind,
    /// The seeds of the cases.
    pub seeds: Range<u64>,
    /// How many workers at a time.
    pub jobs: usize,
    /// The command of a worker, which is to [`serve`](super::serve) the seeds it is given.
    pub worker: &'a (dyn Fn(Range<u64>) -> Command + Sync),
    /// Is told how many cases have been started, again and again.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// A case that went wrong.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Failure {
    /// From which the case is made.
    pub seed: u64,
    /// What happened.
    pub problem: String,
}

/// What came of a campaign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// How many cases were started.
    pub cases: u64,
    /// What went wrong, by seed.
    pub failures: Vec<Failure>,
    /// How long it took.
    pub time: Duration,
    /// The most memory that one worker held, in KiB; 0 where that cannot be found out.
    pub peak_kib: u64,
}

impl Campaign<'_> {
    /// Runs all cases.
    ///
    /// # Errors
    /// A worker cannot be started.
    pub fn run(&self) -> std::io::Result<Report> {
        let started = Instant::now();
        let (next, cases) = (AtomicU64::new(self.seeds.start), AtomicU64::new(0));
        let lane = || self.lane(&next, &cases);
        let lanes = std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..self.jobs).map(|_| scope.spawn(lane)).collect();
            let ended = lanes.into_iter().map(|lane| lane.join().expect("a lane does not panic"));
            ended.collect::<std::io::Result<Vec<_>>>()
        })?;
        let peak_kib = lanes.iter().map(|(_, peak)| *peak).max().unwrap_or(0);
        let mut failures: Vec<Failure> = lanes.into_iter().flat_map(|(failures, _)| failures).collect();
        failures.sort();
        Ok(Report { cases: cases.into_inner(), failures, time: started.elapsed(), peak_kib })
    }

    /// One worker after the other until no seeds are left.
    fn lane(&self, next: &AtomicU64, cases: &AtomicU64) -> std::io::Result<(Vec<Failure>, u64)> {
        let (mut failures, mut peak) = (Vec::new(), 0);
        loop {
            let start = next.fetch_add(CASES_A_WORKER, Ordering::Relaxed);
            let end = self.seeds.end.min(start.saturating_add(CASES_A_WORKER));
            if start >= end {
                return Ok((failures, peak));
            }
            let mut seeds = start..end;
            while !seeds.is_empty() {
                let mut worker = Worker::start((self.worker)(seeds.clone()))?;
                seeds.start = self.listen(&mut worker, seeds.clone(), &mut failures, &mut peak, cases);
            }
        }
    }

    /// Hears a worker out; returns the seed with which to go on.
    fn listen(
        &self,
        worker: &mut Worker,
        seeds: Range<u64>,
        failures: &mut Vec<Failure>,
        peak: &mut u64,
        cases: &AtomicU64,
    ) -> u64 {
        let mut seed = seeds.start;
        loop {
            let problem = match worker.lines.recv_timeout(LONGEST_CASE) {
                Ok(line) => {
                    if let Some(started) = number_after(&line, CASE) {
                        seed = started;
                        (self.progress)(cases.fetch_add(1, Ordering::Relaxed) + 1);
                    } else if let Some(problem) = line.strip_prefix(WRONG) {
                        failures.push(Failure { seed, problem: problem.trim().to_owned() });
                    } else if let Some(kib) = number_after(&line, PEAK) {
                        *peak = kib.max(*peak);
                        return seeds.end;
                    }
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => format!("it takes more than {} s", LONGEST_CASE.as_secs()),
                Err(RecvTimeoutError::Disconnected) => "the process died".to_owned(),
            };
            failures.push(Failure { seed, problem: format!("{problem} ({})", worker.end()) });
            return seed + 1;
        }
    }
}

fn number_after(line: &str, word: &str) -> Option<u64> {
    line.strip_prefix(word)?.trim().parse().ok()
}

/// A process with cases.
struct Worker {
    process: Child,
    lines: Receiver<String>,
}

impl Worker {
    fn start(mut command: Command) -> std::io::Result<Worker> {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let out = BufReader::new(process.stdout.take().expect("its output is a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Worker { process, lines })
    }

    /// Ends it, if it has not ended; says how it ended.
    fn end(&mut self) -> String {
        let killed = self.process.kill();
        match self.process.wait() {
            Ok(status) => status.to_string(),
            Err(error) => format!("{error}, {killed:?}"),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has nothing more to say; a process that nobody waits for would stay in the host's table.
        let _ = self.process.wait();
    }
}
