//! What a machine is made with.

use crate::memory_model::MemoryModel;
use crate::processor::Processor;

/// The most cores a machine has: a schedule names a core with two digits, and xAPIC identities end not far above.
pub const MOST_CORES: u64 = 64;
/// RAM: at least room for the tables, one stack and an image; at most what lies below the framebuffer with room to spare.
pub const LEAST_RAM: u64 = 2 << 20;
/// See [`LEAST_RAM`].
pub const MOST_RAM: u64 = 2 << 30;
/// The deepest store buffer; processors have 40 to 80 entries.
pub const DEEPEST: u64 = 128;

/// Settings of a machine. They are part of every schedule: the same image, settings and choices give the same run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How many cores, 1 to [`MOST_CORES`].
    pub cores: u8,
    /// The memory model.
    pub model: MemoryModel,
    /// Whose processors the cores are like.
    pub processor: Processor,
    /// RAM in bytes.
    pub ram_bytes: u64,
    /// How many ordinary stores a core's buffer holds.
    pub depth: usize,
    /// How many write-combining stores it holds; real processors have 8 to 12 such buffers.
    pub wc_depth: usize,
    /// What the guest is told.
    pub command_line: String,
}

impl Default for Settings {
    /// Two cores, TSO, as on any processor, 8 MiB, 8 entries of each kind.
    fn default() -> Settings {
        Settings {
            cores: 2,
            model: MemoryModel::TSO,
            processor: Processor::ANY,
            ram_bytes: 8 << 20,
            depth: 8,
            wc_depth: 8,
            command_line: String::new(),
        }
    }
}

impl Settings {
    /// Settings from numbers that a person gave.
    ///
    /// # Errors
    /// One of them is out of its range.
    pub fn checked(
        cores: u64,
        model: MemoryModel,
        processor: Processor,
        ram_bytes: u64,
        depth: u64,
        wc_depth: u64,
        command_line: String,
    ) -> Result<Settings, SettingsError> {
        within("cores", cores, 1, MOST_CORES)?;
        if !(LEAST_RAM..=MOST_RAM).contains(&ram_bytes) {
            let [is, least, most] = [ram_bytes, LEAST_RAM, MOST_RAM].map(in_mib);
            return Err(SettingsError(format!("ram is {is}; it must be from {least} to {most}")));
        }
        within("depth", depth, 1, DEEPEST)?;
        within("wc-depth", wc_depth, 1, DEEPEST)?;
        if !ram_bytes.is_multiple_of(crate::memory::PAGE) {
            return Err(SettingsError(format!("ram is {ram_bytes} bytes; it must be a multiple of 4096")));
        }
        Ok(Settings {
            cores: cores as u8,
            model,
            processor,
            ram_bytes,
            depth: depth as usize,
            wc_depth: wc_depth as usize,
            command_line,
        })
    }
}

fn within(name: &str, value: u64, least: u64, most: u64) -> Result<(), SettingsError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(SettingsError(format!("{name} is {value}; it must be from {least} to {most}")))
}

/// Bytes as `--ram` takes them: in MiB where they are whole ones.
fn in_mib(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{}M", bytes >> 20) } else { format!("{bytes} bytes") }
}

/// A setting out of its range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingsError(String);

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}
