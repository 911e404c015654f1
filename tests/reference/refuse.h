/* Configurations that must be refused as SG_CONFIG: parsed as "test.cfg"; text NULL: the defaults. Failures
 * end the test. */
#ifndef SG_TEST_REFUSE_H
#define SG_TEST_REFUSE_H

/* With exactly this message. */
void refuses(const char *text, const char *message);
/* With a message that holds this part. */
void refuses_with(const char *text, const char *part);
/* Under this override, with exactly this message. */
void refuses_under(const char *text, const char *override, const char *message);

#endif
