/* Figures drawn by gnuplot, as SVG to put into a page. Local. */
#ifndef SG_REPORT_PLOTS_H
#define SG_REPORT_PLOTS_H

#include "pipeline/report_figures.h"

/* The script that draws a figure. Data are numbers only; labels are quoted so that none of their characters
 * means anything to gnuplot. Owned (free). SG_NOMEM. */
int sg_plot_script(const sg_figure *figure, char **script);

/* Runs gnuplot on the script and gives the <svg> element, its ids made unique by the figure's id. Takes at
 * most SG_PLOT_SECONDS. Owned (free). SG_NOINPUT: there is no gnuplot; SG_IO: it failed, said something else
 * or took too long; SG_NOMEM. */
enum { SG_PLOT_SECONDS = 10 };
int sg_plot_draw(const sg_figure *figure, char **svg);

#endif
