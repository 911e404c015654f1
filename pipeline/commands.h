/* The commands: each gets its own name as argv[0], and returns an exit code (kernels/error.h) with the error
 * record filled unless that is SG_OK. Those that need MPI start and end it themselves. */
#ifndef SG_COMMANDS_H
#define SG_COMMANDS_H

int sg_cmd_run(int argc, char **argv);
int sg_cmd_plan(int argc, char **argv);
int sg_cmd_status(int argc, char **argv);
int sg_cmd_collect(int argc, char **argv);
int sg_cmd_train(int argc, char **argv);
int sg_cmd_eval(int argc, char **argv);
int sg_cmd_connect(int argc, char **argv);
int sg_cmd_inspect(int argc, char **argv);
int sg_cmd_verify(int argc, char **argv);
int sg_cmd_data(int argc, char **argv);
int sg_cmd_bench(int argc, char **argv);
int sg_cmd_doctor(int argc, char **argv);

#endif
