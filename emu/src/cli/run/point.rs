//! The point of `--until`.

use fencepost::testbench::Until;

/// Where to stop, as it is said on a command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Point {
    /// The picture presented with this number, from 1.
    Frame(u64),
    /// This many steps of all cores.
    Steps(u64),
    /// A serial line that contains this.
    Serial(String),
}

impl Point {
    /// The same for the testbench.
    pub(super) fn until(&self) -> Until<'_> {
        match self {
            Point::Frame(number) => Until::Frame(*number),
            Point::Steps(steps) => Until::Steps(*steps),
            Point::Serial(text) => Until::SerialLine(text),
        }
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Point::Frame(number) => write!(f, "frame:{number}"),
            Point::Steps(steps) => write!(f, "steps:{steps}"),
            Point::Serial(text) => write!(f, "serial:{text}"),
        }
    }
}

impl std::str::FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Point, String> {
        let number = |text: &str| {
            let number = text.parse().ok().filter(|&number: &u64| number > 0);
            number.ok_or_else(|| format!("`{text}` is not a number from 1 on"))
        };
        match text.split_once(':') {
            Some(("frame", text)) => Ok(Point::Frame(number(text)?)),
            Some(("steps", text)) => Ok(Point::Steps(number(text)?)),
            Some(("serial", text)) if !text.is_empty() => Ok(Point::Serial(text.to_owned())),
            Some(_) | None => Err("a point is frame:N, steps:N or serial:TEXT".to_owned()),
        }
    }
}
