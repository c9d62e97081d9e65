//! Points to which a guest can be run.

use super::Output;
use crate::trace::Event;

/// Where to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Until<'a> {
    /// The guest exits, faults, or halts for good.
    #[default]
    End,
    /// This many steps have been taken by all cores together.
    Steps(u64),
    /// The guest has presented its frame of this number, the first being 1.
    Frame(u64),
    /// The guest has written a line to its serial port that contains this text.
    SerialLine(&'a str),
}

impl Until<'_> {
    /// The events after which the machine must be looked at at once.
    pub(super) fn break_condition(&self) -> Option<fn(&Event) -> bool> {
        match self {
            Until::End | Until::Steps(_) => None,
            Until::Frame(_) => Some(|event| matches!(event, Event::FrameReady { .. })),
            Until::SerialLine(_) => Some(|event| matches!(event, Event::Serial { byte: b'\n' })),
        }
    }

    pub(super) fn is_reached(&self, event: &Event, output: &Output) -> bool {
        match self {
            Until::End | Until::Steps(_) => false,
            Until::Frame(wanted) => matches!(event, Event::FrameReady { number } if number == wanted),
            Until::SerialLine(text) => output.ended_serial_line().is_some_and(|line| line.contains(text)),
        }
    }

    pub(super) fn max_steps(&self, limit: u64) -> u64 {
        match self {
            Until::Steps(steps) => limit.min(*steps),
            Until::End | Until::Frame(_) | Until::SerialLine(_) => limit,
        }
    }
}
