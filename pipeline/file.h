/* Plain files: whole reads and writes, publication under a final name, and what to say when one fails. Local.
 */
#ifndef SG_FILE_H
#define SG_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "kernels/error.h"

/* Errors from errno values, with the remedy. Writing: SG_CANTCREATE where the name cannot be made (missing
 * directory, permissions, read-only), SG_IO otherwise (disk full, quota, size limit). Reading: SG_NOINPUT or
 * SG_IO. verb as in "cannot create". Each returns its code. */
int sg_file_write_error(const char *path, const char *verb, int error);
int sg_file_read_error(const char *path, const char *verb, int error);

/* All bytes at this offset, however often the system interrupts. SG_IO; a file that ends early is SG_DATA. */
int sg_file_read_at(int descriptor, const char *path, void *data, size_t bytes, uint64_t offset);
int sg_file_write_at(int descriptor, const char *path, const void *data, size_t bytes, uint64_t offset);

/* A whole regular file of at most limit bytes; *data is owned by the caller (SG_FREE), with a NUL behind it.
 */
int sg_file_read(const char *path, size_t limit, char **data, size_t *bytes);

/* The name under which this process alone writes what is to become PATH: PATH.<host, hashed>-<process>.tmp,
 * so that two processes that write the same file do not meet. Owned by the caller. Removes what killed
 * writers of PATH have left under such names: this host's whose process is gone, and others' that are a day
 * old. */
int sg_file_temporary(char **name, const char *path);

/* Writes a file so that PATH always is the old or the new one, whole: under its temporary name, sync, rename,
 * sync of the directory. */
int sg_file_write(const char *path, const void *data, size_t bytes);

/* The same without syncs, for what may be lost: after a power cut PATH may be empty or gone. */
int sg_file_write_fleeting(const char *path, const void *data, size_t bytes);

/* sg_file_write of a string. */
int sg_file_write_text(const char *path, const char *text);

/* The first size - 1 bytes of a small text file, as a string. */
int sg_file_read_text(const char *path, char *text, size_t size);

/* rename(temporary, path) and a sync of the directory: what was published survives a power cut. After an
 * error the temporary file is there still, or, when only the sync failed, it is PATH. */
int sg_file_publish(const char *temporary, const char *path);

/* A name of its own: PATH followed by suffix; owned by the caller. */
int sg_file_name(char **name, const char *path, const char *suffix);

/* Creates a directory and those above it; one that exists is fine. */
int sg_file_make_directories(const char *path);

#endif
