#include "pipeline/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kernels/clock.h"
#include "kernels/memory.h"
#include "kernels/text.h"
#include "pipeline/file.h"
#include "pipeline/log.h"
#include "pipeline/signals.h"

enum {
    RENEW_SECONDS = 20,
    GUARD_SECONDS = 30, /* a taker that is longer about it has died */
    DYING_SECONDS = 10,
    PATIENCE_SECONDS = 3,
    FIELD = SG_LOCK_TOKEN_BYTES,
    MAX_BYTES = 4096
};

/* What the file says. Text fields are "" and numbers 0 where it does not. */
typedef struct record {
    char host[FIELD], boot[FIELD], space[FIELD], job[FIELD], since[FIELD], nonce[FIELD];
    long pid, parent;
    unsigned long long start; /* of the process, in clock ticks since boot: pids are used again */
} record;

/* The lock that is there now. */
typedef struct sight {
    record holder;
    dev_t device;
    ino_t inode;
    struct timespec touched;
} sight;

struct sg_lock {
    char *path;
    char token[FIELD];
    int descriptor; /* keeps the inode from being used again, so that device and inode are the file's identity
                     */
    dev_t device;
    ino_t inode;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool ending;
};

/* ---- This process, and others on this host */

static void first_line(const char *path, char *text) {
    text[0] = '\0';
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    ssize_t got = read(descriptor, text, FIELD - 1);
    text[got > 0 ? got : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    close(descriptor);
}

/* Parent and start of a process; false when there is none, or only its remains. */
static bool process(long pid, long *parent, unsigned long long *start) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) return false;
    size_t got = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[got] = '\0';
    /* "pid (name) state parent ...": the name may have anything in it, the 22nd field is the start. */
    const char *at = strrchr(text, ')');
    char state = 'X';
    if (at == NULL || sscanf(at + 1, " %c %ld", &state, parent) != 2) return false;
    at++; /* the space before field 3 */
    for (int field = 3; field < 22 && at != NULL; field++) at = strchr(at + 1, ' ');
    *start = at == NULL ? 0 : strtoull(at, NULL, 10);
    return state != 'Z' && state != 'X';
}

static void describe_self(record *self) {
    *self = (record){.pid = (long)getpid()};
    if (gethostname(self->host, sizeof self->host - 1) != 0)
        snprintf(self->host, sizeof self->host, "unknown");
    first_line("/proc/sys/kernel/random/boot_id", self->boot);
    ssize_t got = readlink("/proc/self/ns/pid", self->space, sizeof self->space - 1);
    self->space[got > 0 ? got : 0] = '\0';
    static const char *const jobs[] = {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"};
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs && self->job[0] == '\0'; i++)
        if (getenv(jobs[i]) != NULL) snprintf(self->job, sizeof self->job, "%s", getenv(jobs[i]));
    if (!process(self->pid, &self->parent, &self->start)) self->parent = (long)getppid();
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(self->since, sizeof self->since, "%Y-%m-%dT%H:%M:%SZ", &utc);
    snprintf(self->nonce, sizeof self->nonce, "%.40s.%ld.%llx", self->host, self->pid,
             (unsigned long long)now.tv_sec * 1000000000ULL + (unsigned long long)now.tv_nsec);
}

/* ---- The file */

static int print_record(const record *r, char *text, size_t room) {
    return snprintf(
        text, room,
        "host = %s\npid = %ld\nboot = %s\nspace = %s\nparent = %ld\nstart = %llu\njob = %s\nsince = %s\n"
        "nonce = %s\n",
        r->host, r->pid, r->boot, r->space, r->parent, r->start, r->job, r->since, r->nonce);
}

static void parse_record(record *r, char *text) {
    *r = (record){0};
    const struct {
        const char *key;
        char *text;
    } fields[] = {{"host", r->host}, {"boot", r->boot},   {"space", r->space},
                  {"job", r->job},   {"since", r->since}, {"nonce", r->nonce}};
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *value = strstr(line, " = ");
        if (value == NULL) continue;
        *value = '\0';
        value += 3;
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            if (strcmp(line, fields[i].key) == 0) snprintf(fields[i].text, FIELD, "%s", value);
        if (strcmp(line, "pid") == 0) r->pid = strtol(value, NULL, 10);
        if (strcmp(line, "parent") == 0) r->parent = strtol(value, NULL, 10);
        if (strcmp(line, "start") == 0) r->start = strtoull(value, NULL, 10);
    }
}

/* *there is false when nobody holds the lock. */
static int look(const char *path, sight *s, bool *there) {
    *s = (sight){0};
    *there = false;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0 && errno == ENOENT) return SG_OK;
    if (descriptor < 0) return sg_file_read_error(path, "open", errno);
    struct stat about;
    char text[MAX_BYTES];
    ssize_t got = -1;
    if (fstat(descriptor, &about) == 0) got = pread(descriptor, text, sizeof text - 1, 0);
    int error = errno;
    close(descriptor);
    if (got < 0 && error == ESTALE) return SG_OK; /* removed on a network file system while it was read */
    if (got < 0) return sg_file_read_error(path, "read", error);
    text[got] = '\0';
    parse_record(&s->holder, text);
    s->device = about.st_dev;
    s->inode = about.st_ino;
    s->touched = about.st_mtim;
    *there = true;
    return SG_OK;
}

static bool same_file(const char *path, dev_t device, ino_t inode) {
    struct stat about;
    return stat(path, &about) == 0 && about.st_dev == device && about.st_ino == inode;
}

static void name_holder(const record *r, char *text, size_t room) {
    if (r->host[0] == '\0')
        snprintf(text, room, "somebody who left no name");
    else
        snprintf(text, room, "host %s, process %ld%s%s, since %s", r->host, r->pid,
                 r->job[0] != '\0' ? ", job " : "", r->job, r->since);
    sg_text_make_plain(text);
}

void sg_lock_holder(const char *dir, char *text, size_t room) {
    char *path;
    sight s;
    bool there = false;
    text[0] = '\0';
    if (sg_file_name(&path, dir, "/lock") == SG_OK && look(path, &s, &there) == SG_OK && there)
        name_holder(&s.holder, text, room);
    SG_FREE(path);
}

/* ---- Judging a holder */

enum verdict { LIVE, DYING, DEAD, EXPIRED };

static enum verdict judge(const sight *s, const record *self, const struct timespec *now) {
    const record *h = &s->holder;
    bool own_host = strcmp(h->host, self->host) == 0 && h->host[0] != '\0';
    if (own_host && strcmp(h->boot, self->boot) != 0) return DEAD; /* the host has been started again */
    if (own_host && strcmp(h->space, self->space) == 0 && h->pid > 0) {
        long parent;
        unsigned long long start;
        if (!process(h->pid, &parent, &start) || (h->start != 0 && start != h->start)) return DEAD;
        return h->parent != 0 && parent != h->parent ? DYING : LIVE;
    }
    return now->tv_sec - s->touched.tv_sec > SG_LOCK_LEASE_SECONDS ? EXPIRED : LIVE;
}

static void pause_for(double seconds) {
    struct timespec t = {.tv_sec = (time_t)seconds,
                         .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

/* ---- Taking */

typedef struct attempt {
    const char *dir;
    char *path, *own, *guard; /* DIR/lock, this process's candidate, DIR/lock.guard */
    record self;
    int descriptor;      /* of the candidate */
    struct timespec now; /* by the file system, when the candidate was written */
    dev_t device;
    ino_t inode;
} attempt;

static int write_candidate(attempt *a) {
    char text[MAX_BYTES];
    int length = print_record(&a->self, text, sizeof text);
    if (a->descriptor < 0) a->descriptor = open(a->own, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (a->descriptor < 0) return sg_file_write_error(a->own, "create", errno);
    SG_TRY(sg_file_write_at(a->descriptor, a->own, text, (size_t)length, 0));
    struct stat about;
    if (fsync(a->descriptor) != 0 || fstat(a->descriptor, &about) != 0)
        return sg_file_write_error(a->own, "sync", errno);
    a->device = about.st_dev;
    a->inode = about.st_ino;
    a->now = about.st_mtim;
    return SG_OK;
}

/* Links the candidate as DIR/lock. Over a network the answer may be lost: the file itself tells. */
static int try_link(attempt *a, bool *taken) {
    int error = link(a->own, a->path) == 0 ? 0 : errno;
    *taken = same_file(a->path, a->device, a->inode);
    if (*taken || error == 0 || error == EEXIST) return SG_OK;
    return sg_file_write_error(a->path, "create", error);
}

/* Puts the candidate in the place of the stale lock, unless another taker was faster. */
static int try_replace(attempt *a, const sight *stale, bool *taken) {
    *taken = false;
    int guard = open(a->guard, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (guard < 0 && errno == EEXIST) {
        struct stat about;
        if (stat(a->guard, &about) == 0 && a->now.tv_sec - about.st_mtim.tv_sec > GUARD_SECONDS)
            unlink(a->guard);
        return SG_OK; /* somebody is at it; look again */
    }
    if (guard < 0) return sg_file_write_error(a->guard, "create", errno);
    int status = SG_OK;
    sight s;
    bool there = false;
    status = SG_AT(look(a->path, &s, &there));
    if (there && s.device == stale->device && s.inode == stale->inode &&
        strcmp(s.holder.nonce, stale->holder.nonce) == 0) {
        if (rename(a->own, a->path) != 0)
            status = sg_file_write_error(a->path, "rename to", errno);
        else
            *taken = same_file(a->path, a->device, a->inode);
    }
    close(guard);
    unlink(a->guard);
    return status;
}

static void say_taken_over(const attempt *a, const sight *s, enum verdict verdict) {
    char who[600];
    name_holder(&s->holder, who, sizeof who);
    sg_log_info("%s was locked by %s, %s; taken over", a->dir, who,
                verdict == DEAD ? "which has died" : "whose lease is over");
}

static int contend(attempt *a, bool wait) {
    double start = sg_clock_now();
    bool said = false;
    for (double pause = 0.05;; pause = pause < 1 ? 1.5 * pause : 1) {
        sight s;
        bool there, taken = false;
        SG_TRY(write_candidate(a));
        SG_TRY(try_link(a, &taken));
        if (taken) return SG_OK;
        SG_TRY(look(a->path, &s, &there));
        if (!there) continue;
        enum verdict verdict = judge(&s, &a->self, &a->now);
        if (verdict == DEAD || verdict == EXPIRED) {
            SG_TRY(try_replace(a, &s, &taken));
            if (taken) {
                say_taken_over(a, &s, verdict);
                return SG_OK;
            }
        } else if (wait && !said) {
            char who[600];
            name_holder(&s.holder, who, sizeof who);
            sg_log_info("%s is in use by %s; waiting for it", a->dir, who);
            said = true;
        } else if (!wait) {
            bool own_host = strcmp(s.holder.host, a->self.host) == 0;
            double patience = verdict == DYING ? DYING_SECONDS : own_host ? PATIENCE_SECONDS : 0;
            char who[600];
            name_holder(&s.holder, who, sizeof who);
            SG_CHECK(
                sg_clock_now() - start < patience, SG_BUSY,
                "%s is in use by %s; wait for it (--wait does), stop it, or, when it is surely dead, use "
                "--break-lock",
                a->dir, who);
        }
        if (sg_stop_requested())
            return SG_FAIL(SG_INTERRUPTED, "%s: stopped while waiting for its lock", a->dir);
        pause_for(pause);
    }
}

/* ---- Holding */

static void *renew(void *context) {
    sg_lock *lock = context;
    pthread_mutex_lock(&lock->mutex);
    while (!lock->ending) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += RENEW_SECONDS;
        pthread_cond_timedwait(&lock->wake, &lock->mutex, &until);
        /* By name, and only while it is ours: a lock that was taken over is not kept alive for its taker. */
        if (!lock->ending && same_file(lock->path, lock->device, lock->inode))
            utimensat(AT_FDCWD, lock->path, NULL, 0);
    }
    pthread_mutex_unlock(&lock->mutex);
    return NULL;
}

static int start_renewing(sg_lock *lock) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_mutex_init(&lock->mutex, NULL);
    pthread_cond_init(&lock->wake, NULL);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
    int error = pthread_create(&lock->thread, NULL, renew, lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0) return SG_OK;
    pthread_cond_destroy(&lock->wake);
    pthread_mutex_destroy(&lock->mutex);
    return SG_FAIL(SG_INTERNAL, "no thread to renew the lock: %s", strerror(error));
}

int sg_lock_acquire(sg_lock **lock, const char *dir, bool wait) {
    attempt a = {.dir = dir, .descriptor = -1};
    char suffix[2 * FIELD];
    bool held = false;
    *lock = NULL;
    describe_self(&a.self);
    snprintf(suffix, sizeof suffix, "/lock.%s", a.self.nonce);
    int status = SG_AT(sg_file_name(&a.path, dir, "/lock"));
    if (status == SG_OK) status = SG_AT(sg_file_name(&a.guard, dir, "/lock.guard"));
    if (status == SG_OK) status = SG_AT(sg_file_name(&a.own, dir, suffix));
    if (status == SG_OK) status = SG_AT(SG_NEW(lock, 1));
    if (status == SG_OK) {
        status = SG_AT(contend(&a, wait));
        held = status == SG_OK;
        unlink(a.own);
    }
    if (status == SG_OK) {
        (*lock)->path = a.path;
        (*lock)->device = a.device;
        (*lock)->inode = a.inode;
        (*lock)->descriptor = a.descriptor;
        memcpy((*lock)->token, a.self.nonce, sizeof a.self.nonce);
        a.path = NULL;
        status = SG_AT(start_renewing(*lock));
    }
    if (status != SG_OK && *lock != NULL) {
        if (held) unlink((*lock)->path);
        SG_FREE((*lock)->path);
        SG_FREE(*lock);
    }
    if (status != SG_OK && a.descriptor >= 0) close(a.descriptor);
    SG_FREE(a.path);
    SG_FREE(a.own);
    SG_FREE(a.guard);
    return status;
}

const char *sg_lock_token(const sg_lock *lock) { return lock->token; }

/* By what the file says: device numbers differ from host to host. */
int sg_lock_check(const char *dir, const char *token) {
    char *path, who[600] = "nobody";
    sight s;
    bool there = false;
    SG_TRY(sg_file_name(&path, dir, "/lock"));
    int status = SG_AT(look(path, &s, &there));
    if (status == SG_OK && (!there || strcmp(s.holder.nonce, token) != 0)) {
        if (there) name_holder(&s.holder, who, sizeof who);
        status =
            SG_FAIL(SG_BUSY, "%s is no longer ours: broken or taken over; it now belongs to %s", path, who);
    }
    SG_FREE(path);
    return status;
}

void sg_lock_release(sg_lock **lock) {
    sg_lock *l = lock == NULL ? NULL : *lock;
    if (l == NULL) return;
    pthread_mutex_lock(&l->mutex);
    l->ending = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->mutex);
    pthread_join(l->thread, NULL);
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->mutex);
    if (same_file(l->path, l->device, l->inode)) unlink(l->path);
    close(l->descriptor);
    SG_FREE(l->path);
    SG_FREE(*lock);
}

int sg_lock_break(const char *dir) {
    char *path, who[600];
    SG_TRY(sg_file_name(&path, dir, "/lock"));
    sight s;
    bool there = false;
    int status = SG_AT(look(path, &s, &there));
    if (status == SG_OK && there) {
        name_holder(&s.holder, who, sizeof who);
        sg_log_info("%s: the lock of %s is broken", dir, who);
        if (unlink(path) != 0 && errno != ENOENT) status = sg_file_write_error(path, "remove", errno);
    }
    SG_FREE(path);
    return status;
}
