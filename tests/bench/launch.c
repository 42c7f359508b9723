// launch.c - runs a program on a malloc, and says what it cost.
//
// usage: launch SECONDS MIB LIBRARY OUTPUT PROGRAM [ARGUMENT...]
//
// PROGRAM runs with LD_PRELOAD=LIBRARY ("": without); what it prints goes to
// the file OUTPUT. It is killed after SECONDS, or when more than MIB of memory
// are resident. One line on stdout says how it ended, and what it used:
//
//     ended exit 0 user 0.412345 sys 0.012345 wall 0.430000 peak_kib 10240
//
// "signal 11" in place of "exit 0" is a crash, "time 0" and "memory 0" are the
// limits. user and sys are seconds of the processors, wall is time passed, and
// peak_kib is the most memory that was resident at once.
//
// This is a program of its own because a child begins with the memory of its
// parent: a large parent would put its own size under the child's peak_kib.
//
// Exit: 0 PROGRAM was run, whatever became of it; 2 trouble, with a message.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// How often the memory of the program is looked at.
enum { LOOK_NANOSECONDS = 50 * 1000 * 1000 };

static void fail(const char *what)
{
    fprintf(stderr, "launch: %s: %s\n", what, strerror(errno));
    exit(2);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

// become_program turns the child into the program. parent is its parent.
static void become_program(pid_t parent, char **argv)
{
    const char *library = argv[3], *output = argv[4];

    // The program ends with the launcher, and leaves no core behind.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(2);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    int fd = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        fail(output);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (*library != '\0')
        setenv("LD_PRELOAD", library, 1);
    execvp(argv[5], argv + 5);
    fprintf(stderr, "launch: %s: %s\n", argv[5], strerror(errno));
    _exit(127);
}

// resident returns how many MiB of the process are in memory.
static double resident(pid_t pid)
{
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*s %ld", &pages) != 1)
        pages = 0;
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

// wait_for returns when the child has ended. Returns the limit that it had to
// be killed for, or NULL.
static const char *wait_for(pid_t pid, double deadline, double mib, int *status,
                            struct rusage *usage)
{
    sigset_t child;
    const char *limit = NULL;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    while (wait4(pid, status, WNOHANG, usage) == 0) {
        struct timespec look = {0, LOOK_NANOSECONDS};
        sigtimedwait(&child, NULL, &look);
        if (limit == NULL && now() > deadline)
            limit = "time";
        else if (limit == NULL && resident(pid) > mib)
            limit = "memory";
        if (limit != NULL)
            kill(pid, SIGKILL);
    }
    return limit;
}

// positive returns the number in text.
static double positive(const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value > 0)) {
        errno = EINVAL;
        fail(text);
    }
    return value;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: launch SECONDS MIB LIBRARY OUTPUT PROGRAM "
                        "[ARGUMENT...]\n");
        return 2;
    }
    double limit_seconds = positive(argv[1]), limit_mib = positive(argv[2]);

    // A signal that comes before it is waited for must not be lost.
    sigset_t child;
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);

    pid_t self = getpid();
    double start = now();
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0)
        become_program(self, argv);

    int status = 0;
    struct rusage usage = {0};
    const char *how =
        wait_for(pid, start + limit_seconds, limit_mib, &status, &usage);
    double wall = now() - start;
    int number = 0;
    if (how == NULL && WIFEXITED(status)) {
        how = "exit";
        number = WEXITSTATUS(status);
    } else if (how == NULL) {
        how = "signal";
        number = WTERMSIG(status);
    }
    printf("ended %s %d user %.6f sys %.6f wall %.6f peak_kib %ld\n", how,
           number, seconds(usage.ru_utime), seconds(usage.ru_stime), wall,
           usage.ru_maxrss);
    return 0;
}
