// Runs the two threads of a litmus test against each other on two processors, and prints the final states that show.
//
// As in litmus7, each round begins at a moment that both processors read off their time stamp counters, give or take a
// few cycles; and the processors take turns at resetting memory, so that each has all cache lines in half of the rounds.

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <x86intrin.h>

$EXTERNS
enum { PLACES = $PLACES, MOST = 4096, LEAD = 500, JITTER = 256 };
static const long rounds = $ROUNDS;

void thread0(void);
void thread1(void);
long saved[2][16];

static long seen[MOST][PLACES];
static int seen_count;

// The round that each of these has come to: the last is looked at, under way, over.
static long looked_at, begun, over;
static unsigned long start;

static void wait_for(long *round, long value) {
    while (__atomic_load_n(round, __ATOMIC_ACQUIRE) < value) _mm_pause();
}

static void wait_to_start(unsigned long round, int thread) {
    unsigned long jitter = round * 0x9e3779b97f4a7c15UL >> (thread ? 56 : 48);
    while (__rdtsc() < start + jitter % JITTER) ;
}

static void reset_variables_and_begin(long round) {
$RESETS
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    start = __rdtsc() + LEAD;
    __atomic_store_n(&begun, round, __ATOMIC_RELEASE);
}

static long number(const void *at, int size, int is_signed) {
    unsigned long value = 0;
    memcpy(&value, at, size);
    if (is_signed && size < 8 && value >> (8 * size - 1) & 1) value |= ~0UL << 8 * size;
    return value;
}

static void stay_on(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void *other(void *unused) {
    stay_on(1);
    for (long round = 1; round <= rounds; round++) {
        if (round % 2) {
            wait_for(&looked_at, round - 1);
            reset_variables_and_begin(round);
        } else {
            wait_for(&begun, round);
        }
        wait_to_start(round, 1);
        thread1();
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        __atomic_store_n(&over, round, __ATOMIC_RELEASE);
    }
    return 0;
}

static void look(void) {
    long state[PLACES] = { $VALUES };
    for (int i = 0; i < seen_count; i++)
        if (!memcmp(seen[i], state, sizeof state)) return;
    if (seen_count < MOST) memcpy(seen[seen_count++], state, sizeof state);
}

int main(void) {
    pthread_t thread;
    stay_on(0);
    pthread_create(&thread, 0, other, 0);
    for (long round = 1; round <= rounds; round++) {
        if (round % 2 == 0) reset_variables_and_begin(round);
        else wait_for(&begun, round);
        wait_to_start(round, 0);
        thread0();
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        wait_for(&over, round);
        look();
        __atomic_store_n(&looked_at, round, __ATOMIC_RELEASE);
    }
    pthread_join(thread, 0);
    for (int i = 0; i < seen_count; i++) {
        const long *state = seen[i];
        printf($FORMAT "\n"$ARGUMENTS);
    }
    return 0;
}
