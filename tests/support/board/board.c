/* Vectors, start-up and output by semihosting: all that a program without a C library's start needs.
 * For boards of Cortex-M under qemu-system-arm; benchmarks/small/cortex.py runs on it as well. */
#include <stdint.h>
#include <string.h>
int main(void);
static int host(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
void show(const void *data, int bytes)
{
    static char text[3];
    for (int k = 0; k < bytes; ++k) {
        const unsigned char byte = ((const unsigned char *)data)[k];
        text[0] = "0123456789abcdef"[byte >> 4];
        text[1] = "0123456789abcdef"[byte & 15];
        text[2] = 0;
        host(4, text);
    }
    host(4, " ");
}
static void start(void)
{
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* the floating point unit */
    __asm__ volatile("dsb\n isb");
    main();
    host(0x18, (const void *)0x20026);
}
int __errno_value;
int *__errno(void) { return &__errno_value; }
__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    (const void *)0x20020000, (const void *)start};
