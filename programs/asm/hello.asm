; hello-asm: the smallest guest program in assembler
;
; Every core enters at the same instruction and finds its number in rdi.
; The cores greet one after the other on the serial port; core 0 says how it went and ends the run.
; The contract is programs/BOOT.md.
;
; cores: 2
; variant plain: every core greets in turn
;   sc, tso, pso: hello

bits 64
default rel

COM1            equ 0x3f8
DEBUG_CONSOLE   equ 0xe9
DEBUG_EXIT      equ 0xf4

section .text
global _start

_start:                         ; rdi = core, rsi = cores, rdx = boot information
        mov     r12, rdi
        mov     r13, rsi
        mov     rax, r12
        call    wait_for
        mov     dx, COM1
        lea     rsi, [greeting]
        call    print
        mov     rax, r12
        add     al, '0'         ; one digit will do for up to ten cores
        out     dx, al
        lea     rsi, [full_stop]
        call    print
        lea     rax, [r12 + 1]
        mov     [greeted], rax  ; it is this core's turn, so nobody else writes
        test    r12, r12
        jnz     .done
        mov     rax, r13
        call    wait_for
        mov     dx, DEBUG_CONSOLE
        lea     rsi, [outcome]
        call    print
        mov     dx, DEBUG_EXIT
        xor     eax, eax
        out     dx, al
.done:  ret                     ; to the machine, which halts the core

; Waits until rax cores have greeted.
wait_for:
        cmp     [greeted], rax
        jae     .done
        pause
        jmp     wait_for
.done:  ret

; Sends the text at rsi, up to a zero, to port dx.
print:  mov     al, [rsi]
        test    al, al
        jz      .done
        out     dx, al
        inc     rsi
        jmp     print
.done:  ret

section .rodata
greeting:       db "Hello from nasm, core ", 0
full_stop:      db ".", 10, 0
outcome:        db "outcome: hello", 10, 0

section .bss
        alignb 8
greeted:        resq 1
