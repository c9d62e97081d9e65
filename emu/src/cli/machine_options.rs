//! Options that say what machine a guest runs on.

use super::failure::Failure;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use fencepost::machine::Settings;
use fencepost::memory_model::MemoryModel;
use fencepost::processor::Processor;

/// The machine.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "The machine")]
pub(super) struct MachineOptions {
    /// How many cores, 1 to 64 [default: what the program is written for; 2 for a file]
    #[arg(long, value_name = "N")]
    pub(super) cores: Option<u64>,

    /// Which stores other cores may see late, and in what order [default: tso]
    ///
    /// With --runs it may be a list, as in `sc,tso,pso`, and there is a table for each.
    #[arg(long, value_name = "MODEL", value_delimiter = ',', value_parser = model_parser())]
    pub(super) model: Vec<MemoryModel>,

    /// On whose processors it must hold: what is one access, and what a load may take from the store buffer [default: any]
    #[arg(long, value_name = "PROCESSOR", value_parser = processor_parser())]
    pub(super) processor: Option<Processor>,

    /// How many ordinary stores a core's store buffer holds, 1 to 128 [default: 8]
    #[arg(long, value_name = "N")]
    pub(super) depth: Option<u64>,

    /// How many write-combining stores it holds, 1 to 128 [default: 8]
    #[arg(long, value_name = "N")]
    pub(super) wc_depth: Option<u64>,

    /// RAM, as in 8M, 512K, 1G or a number of bytes: 2M to 2G, in pages of 4K [default: 8M]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) ram: Option<u64>,
}

impl MachineOptions {
    /// The settings that these options and `base` make, under `model`.
    pub(super) fn settings(&self, base: &Settings, model: MemoryModel) -> Result<Settings, Failure> {
        let settings = Settings::checked(
            self.cores.unwrap_or(u64::from(base.cores)),
            model,
            self.processor.unwrap_or(base.processor),
            self.ram.unwrap_or(base.ram_bytes),
            self.depth.unwrap_or(base.depth as u64),
            self.wc_depth.unwrap_or(base.wc_depth as u64),
            base.command_line.clone(),
        )?;
        Ok(settings)
    }

    /// The models asked for, each once; TSO when none is.
    pub(super) fn models(&self) -> Vec<MemoryModel> {
        let mut models = Vec::new();
        for &model in &self.model {
            if !models.contains(&model) {
                models.push(model);
            }
        }
        if models.is_empty() { vec![MemoryModel::TSO] } else { models }
    }

    /// Each setting given on the command line: its flag, its value here, and its value in `settings`.
    pub(super) fn beside(&self, settings: &Settings) -> Vec<(&'static str, String, String)> {
        let mut given = Vec::new();
        let numbers = [
            ("cores", self.cores, u64::from(settings.cores)),
            ("depth", self.depth, settings.depth as u64),
            ("wc-depth", self.wc_depth, settings.wc_depth as u64),
            ("ram", self.ram, settings.ram_bytes),
        ];
        for (flag, here, there) in numbers {
            given.extend(here.map(|here| (flag, here.to_string(), there.to_string())));
        }
        given.extend(self.model.iter().map(|model| ("model", model.to_string(), settings.model.to_string())));
        let processor = self.processor.iter();
        given.extend(processor.map(|it| ("processor", it.to_string(), settings.processor.to_string())));
        given
    }
}

/// Takes a memory model's name.
pub(super) fn model_parser() -> impl TypedValueParser<Value = MemoryModel> {
    let values = MemoryModel::ALL.map(|model| PossibleValue::new(model.name()).help(model.summary()));
    PossibleValuesParser::new(values)
        .map(|name| MemoryModel::named(&name).expect("clap lets only the names of models through"))
}

/// Takes a processor's name.
pub(super) fn processor_parser() -> impl TypedValueParser<Value = Processor> {
    let values = Processor::ALL.map(|processor| PossibleValue::new(processor.name()).help(processor.summary()));
    PossibleValuesParser::new(values)
        .map(|name| Processor::named(&name).expect("clap lets only the names of processors through"))
}

/// A number of bytes, with K, M or G for powers of 1024.
fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().next_back() {
        Some((end, 'k' | 'K')) => (&text[..end], 10),
        Some((end, 'm' | 'M')) => (&text[..end], 20),
        Some((end, 'g' | 'G')) => (&text[..end], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| "a size is a number such as 8388608, 512K, 8M or 1G".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is more than 64 bits can say".to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_are_bytes_or_powers_of_1024() {
        assert_eq!(["7", "512K", "8m", "2G"].map(parse_size), [Ok(7), Ok(512 << 10), Ok(8 << 20), Ok(2 << 30)]);
        for wrong in ["", "M", "8MB", "-1", "1.5M", "99999999999999G"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
