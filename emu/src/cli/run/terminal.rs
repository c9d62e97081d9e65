//! Typing into a machine that runs: standard input, a terminal or not, and the typist at it.
//!
//! A terminal gives each key as it is pressed, Ctrl+C and its like included, and shows nothing of it by itself; what the
//! guest prints is treated as ever. It is put back as it was when the [`Session`] ends, however the run ends, and when the
//! process is asked to end by SIGINT, SIGTERM or SIGHUP. Nothing can be done about SIGKILL: `stty sane` then helps.

use crate::cli::failure::{Failure, note, refuse};
use fencepost::input::{Live, Place, Typist};
use std::io::{ErrorKind, IsTerminal, Read};

/// The key that ends the run, Ctrl+], as in telnet: no program for guests is likely to want it.
const LEAVE: u8 = 0x1d;

/// Somebody at standard input; the terminal is as it was when this is dropped.
pub(super) struct Session {
    #[cfg(unix)]
    _terminal: Option<unix::RawTerminal>,
}

/// Begins to pass on what is typed to `place`.
pub(super) fn begin(place: Place) -> Result<(Session, Live), Failure> {
    let is_terminal = std::io::stdin().is_terminal();
    let session = if is_terminal { Session::with_terminal()? } else { Session::without_terminal() };
    if is_terminal {
        let place = match place {
            Place::Keys => "keyboard",
            Place::Serial => "serial port",
        };
        note(&format!("what you type goes to the guest's {place}; Ctrl+] leaves"));
    }
    let (live, typist) = Live::new(place);
    std::thread::spawn(move || pass_on(&typist, is_terminal));
    Ok((session, live))
}

/// Passes standard input on until it ends.
fn pass_on(typist: &Typist, is_terminal: bool) {
    let mut bytes = [0; 256];
    loop {
        let length = match std::io::stdin().lock().read(&mut bytes) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        for &byte in &bytes[..length] {
            match (is_terminal, byte) {
                (true, LEAVE) => return typist.leave(),
                // Nobody may be kept from leaving by what was typed before.
                (true, byte) => typist.offer(byte),
                (false, byte) if typist.send(byte) => (),
                (false, _) => return,
            }
        }
    }
}

impl Session {
    #[cfg(unix)]
    fn with_terminal() -> Result<Session, Failure> {
        match unix::RawTerminal::begin() {
            Ok(terminal) => Ok(Session { _terminal: Some(terminal) }),
            Err(error) => refuse(format!("cannot take over the terminal: {error}; give the input by a pipe")),
        }
    }

    #[cfg(not(unix))]
    fn with_terminal() -> Result<Session, Failure> {
        refuse("typing into the machine needs a Unix terminal; give the input by a pipe, or with --input")
    }

    fn without_terminal() -> Session {
        Session {
            #[cfg(unix)]
            _terminal: None,
        }
    }
}

#[cfg(unix)]
mod unix {
    //! The terminal's modes (POSIX.1-2017, chapter 11).

    use rustix::termios::{InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;
    use std::io::stdin;

    /// The terminal at standard input, which passes every key on; as it was when this is dropped.
    pub(super) struct RawTerminal {
        before: Termios,
    }

    impl RawTerminal {
        /// Takes the terminal over.
        pub(super) fn begin() -> std::io::Result<RawTerminal> {
            let before = tcgetattr(stdin())?;
            restore_at_signals(before.clone())?;
            let mut raw = before.clone();
            raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
            raw.input_modes -= InputModes::ICRNL | InputModes::INLCR | InputModes::IGNCR | InputModes::IXON;
            raw.input_modes -= InputModes::ISTRIP | InputModes::BRKINT;
            raw.special_codes[SpecialCodeIndex::VMIN] = 1;
            raw.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(stdin(), OptionalActions::Now, &raw)?;
            Ok(RawTerminal { before })
        }
    }

    impl Drop for RawTerminal {
        fn drop(&mut self) {
            // A terminal that has gone away needs nothing.
            _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
        }
    }

    /// Puts the terminal back before a signal ends the process.
    fn restore_at_signals(before: Termios) -> std::io::Result<()> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        std::thread::spawn(move || {
            for signal in signals.forever() {
                _ = tcsetattr(stdin(), OptionalActions::Now, &before);
                _ = emulate_default_handler(signal);
            }
        });
        Ok(())
    }
}
