// hello-c: the smallest guest program in C
//
// Every core enters at the same function and finds its number in the first argument.
// The cores greet one after the other on the serial port; core 0 says how it went and ends the run.
// The file needs nothing but a compiler: the contract is programs/BOOT.md.
//
// cores: 2
// variant plain: every core greets in turn
//   sc, tso, pso: hello

#include <stdint.h>

struct boot_info {
    uint64_t magic, ram_bytes, cores, command_line, command_line_len, heap_start, heap_end;
    uint64_t framebuffer_pixels, framebuffer_pixel_bytes, framebuffer_registers;
};

enum { COM1 = 0x3f8, DEBUG_CONSOLE = 0xe9, DEBUG_EXIT = 0xf4 };

static volatile uint64_t greeted;

static void out(uint16_t port, uint8_t byte)
{
    __asm__ volatile("outb %0, %1" : : "a"(byte), "Nd"(port) : "memory");
}

static void print(uint16_t port, const char *text)
{
    while (*text)
        out(port, (uint8_t)*text++);
}

static void print_number(uint16_t port, uint64_t number)
{
    if (number >= 10)
        print_number(port, number / 10);
    out(port, (uint8_t)('0' + number % 10));
}

static void wait_for(uint64_t cores)
{
    while (greeted < cores)
        __asm__ volatile("pause");
}

// A core that returns is halted.
void _start(uint64_t core, uint64_t cores, const struct boot_info *boot)
{
    (void)boot;
    wait_for(core);
    print(COM1, "Hello from C, core ");
    print_number(COM1, core);
    print(COM1, " of ");
    print_number(COM1, cores);
    print(COM1, ".\n");
    // It is this core's turn, so nobody else writes: an ordinary store will do.
    greeted = core + 1;
    if (core == 0) {
        wait_for(cores);
        print(DEBUG_CONSOLE, "outcome: hello\n");
        out(DEBUG_EXIT, 0);
    }
}
