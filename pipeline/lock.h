/* One run directory, one run: DIR/lock names who holds it.
 *
 * The file is written under another name and linked, so it appears whole or not at all. Its holder touches it
 * every 20 s from a thread of its own (no MPI); a lease is over when that has not happened for LEASE seconds
 * by the file system's clock (compared with a file written now: hosts' clocks differ). On the holder's own
 * host and boot its process is asked for instead. Takers of a stale lock go one by one through
 * DIR/lock.guard. Local: one rank of a run takes and releases it; all may check that it still is theirs. */
#ifndef SG_LOCK_H
#define SG_LOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/error.h"

enum { SG_LOCK_LEASE_SECONDS = 120, SG_LOCK_TOKEN_BYTES = 128 };

typedef struct sg_lock sg_lock;

/* Takes DIR's lock. Where the holder is dead or its lease is over, it is taken over and the log says so. A
 * live holder on this host that has lost its launcher is dying: it is given 10 s, another 3 s. After that
 * SG_BUSY, which names host, process, job and since when; with wait, waits until it is free (SG_INTERRUPTED
 * when asked to stop). SG_CANTCREATE, SG_IO. */
int sg_lock_acquire(sg_lock **lock, const char *dir, bool wait);

/* What its file says and no other lock's does: other processes of the holder's run look for it. Borrowed. */
const char *sg_lock_token(const sg_lock *lock);

/* SG_BUSY when DIR's lock is no longer the one with this token: somebody has taken or broken it, and nothing
 * may be published any more. SG_IO, SG_NOINPUT when the file cannot be read. From any process on any host. */
int sg_lock_check(const char *dir, const char *token);

/* Removes the lock if it is still ours. NULL tolerated. */
void sg_lock_release(sg_lock **lock);

/* Removes whoever's lock, after the log has said whose; SG_OK when there is none. */
int sg_lock_break(const char *dir);

/* "host H, process P, job J, since T", for `status`; "" when nobody holds it. */
void sg_lock_holder(const char *dir, char *text, size_t room);

#endif
