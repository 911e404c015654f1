/* What calls of ours return in tests. Failures end the test. */
#ifndef SG_TEST_STATUS_H
#define SG_TEST_STATUS_H

void assert_ok(int status);
/* The error code, and that its message holds this text. */
void assert_error(int status, int expected, const char *text);

#endif
