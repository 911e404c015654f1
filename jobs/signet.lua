-- Lmod's modulefile for Signet; `make install` fills in where it is. Copy it to MODULEPATH/signet/VERSION.lua, and load what
-- it was built with where that is not in the standard places.
help([[Signet finds sparse networks whose signs alone win: signet --help]])
whatis("Name: signet")
whatis("Description: MPI pipeline for A Winning Sign (AWS): searches, transfers and connects sparse networks")
-- depends_on("openmpi", "hdf5-parallel", "blis")
prepend_path("PATH", "@PREFIX@/bin")
setenv("SIGNET", "@PREFIX@/bin/signet")
setenv("SIGNET_CONFIGS", "@PREFIX@/share/signet/configs")
setenv("SIGNET_JOBS", "@PREFIX@/share/signet/jobs")
