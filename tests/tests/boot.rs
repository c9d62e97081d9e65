//! Images that say themselves how they are started: kernels by Multiboot and PVH, and boot sectors.
//!
//! What a guest is told is read back from the machine's memory by parsers of the tests' own, written from the specifications.

mod boot {
    mod elf;
    mod memory;

    mod boot_sector;
    mod broken;
    mod firmware;
    mod modules_and_disks;
    mod multiboot;
    mod multiboot2;
    mod pvh;
}
