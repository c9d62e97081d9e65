//! Schedules with errors: what is still one is read back from its own text and replayed.

use crate::random::Random;
use fencepost::machine::Settings;
use fencepost::memory_model::MemoryModel;
use fencepost::schedule::Schedule;
use fencepost::testbench::Testbench;
use std::sync::OnceLock;

/// Steps of the runs that are broken, and of the replays.
const STEPS: u64 = 2000;

/// What schedules are about, and other things.
const WORDS: [&str; 34] = [
    "0+",
    "1+",
    "p",
    "px3",
    "0+x9",
    "0d0",
    "1d0x4",
    "0d7",
    "0d255",
    "0d256",
    "0*1",
    "1*100",
    "0*1!",
    "1*99999!",
    "63*7",
    "64*7",
    "255+",
    "256+",
    "0*1048577",
    "0*0",
    "0+x0",
    "0+x50000001",
    "k61",
    "s0dx3",
    "m10,-5,1",
    "m-32768,32767,7x9",
    "m1,2,8",
    "m1,40000,0",
    "0*1x2",
    "-1+",
    "# x\n",
    ":",
    "\"",
    "\u{1f980}",
];

pub(super) fn case(seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let recorded = &recorded()[random.index(recorded().len())];
    let text = if random.one_in(16) { any_text(&mut random) } else { broken(recorded.to_string(), &mut random) };
    let Ok(mut schedule) = text.parse::<Schedule>() else { return Ok(()) };
    if schedule.to_string().parse().as_ref() != Ok(&schedule) {
        return Err(format!("`{text}` is not read as it is written"));
    }
    schedule.image = recorded.image;
    let bench = bench(&recorded.settings).schedule(schedule).map_err(|error| error.to_string())?;
    // What does not fit is refused here.
    let _ = bench.max_steps(STEPS).run();
    Ok(())
}

/// Schedules as they are recorded.
fn recorded() -> &'static [Schedule] {
    static RECORDED: OnceLock<Vec<Schedule>> = OnceLock::new();
    RECORDED.get_or_init(|| (0..8).map(record).collect())
}

fn record(seed: u64) -> Schedule {
    let model = MemoryModel::ALL[seed as usize % 3];
    let bench = bench(&Settings { model, command_line: "broken".into(), ..Settings::default() });
    let run = bench.seed(seed).max_steps(STEPS).run().expect("the program fits");
    let mut schedule = run.schedule().expect("it was recorded");
    schedule.choices.truncate(60);
    schedule
}

fn bench(settings: &Settings) -> Testbench {
    Testbench::program("message-passing").expect("it is built in").settings(settings.clone())
}

fn any_text(random: &mut Random) -> String {
    let length = random.index(200);
    let bytes = random.bytes(length);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn broken(text: String, random: &mut Random) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for _ in 0..=random.below(6) {
        let at = if random.one_in(4) { random.index(words.len().min(9)) } else { random.index(words.len()) };
        match random.below(7) {
            0 => words[at] = random.pick(&WORDS).to_owned(),
            1 => words.insert(at, random.pick(&WORDS).to_owned()),
            2 => words.truncate(at + 1),
            3 => {
                words.remove(at);
                words.push(random.pick(&WORDS).to_owned());
            }
            4 => {
                let other = random.index(words.len());
                words.swap(at, other);
            }
            5 => words[at] = other_number(&words[at], random),
            _ => words[at] = other_bytes(&words[at], random),
        }
    }
    words.join(random.pick(&[" ", " ", " ", "\n", "  ", "\t", "\u{a0}", ""]))
}

/// The word with its last number changed.
fn other_number(word: &str, random: &mut Random) -> String {
    let head = word.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = if random.one_in(2) { random.below(70) } else { random.limit() };
    format!("{head}{number}")
}

fn other_bytes(word: &str, random: &mut Random) -> String {
    let mut bytes = word.as_bytes().to_vec();
    for _ in 0..=random.below(2) {
        if !bytes.is_empty() {
            let at = random.index(bytes.len());
            bytes[at] = random.next() as u8 & 0x7f;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
