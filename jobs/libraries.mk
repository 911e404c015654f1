# Where the libraries are: pkg-config first, then compiler wrappers, then *_ROOT variables (BLIS_ROOT, HDF5_ROOT ...).
pkg = $(shell pkg-config --exists $(1) 2>/dev/null && pkg-config $(2) $(1))

# $(call library,pkg-config names,ROOT variable,default libs)
first_pkg = $(firstword $(foreach p,$(1),$(if $(shell pkg-config --exists $(p) 2>/dev/null && echo y),$(p))))
cflags_of = $(if $($(2)),-I$($(2))/include,$(if $(call first_pkg,$(1)),$(shell pkg-config --cflags $(call first_pkg,$(1)))))
libs_of = $(if $($(2)),-L$($(2))/lib -Wl$(comma)-rpath$(comma)$($(2))/lib $(3),$(if $(call first_pkg,$(1)),$(shell pkg-config --libs $(call first_pkg,$(1))),$(3)))
comma := ,

HDF5_CFLAGS := $(call cflags_of,hdf5-openmpi hdf5-mpi hdf5-mpich,HDF5_ROOT)
HDF5_LIBS := $(call libs_of,hdf5-openmpi hdf5-mpi hdf5-mpich,HDF5_ROOT,-lhdf5)
BLIS_CFLAGS := $(or $(call cflags_of,blis,BLIS_ROOT),$(addprefix -isystem ,$(firstword $(wildcard /usr/include/$(shell uname -m)-linux-gnu/blis* /usr/include/blis))))
BLIS_LIBS := $(call libs_of,blis,BLIS_ROOT,-lblis)

LIBRARY_CFLAGS := $(HDF5_CFLAGS) $(BLIS_CFLAGS) $(call cflags_of,libconfig,LIBCONFIG_ROOT) \
                  $(call cflags_of,libjpeg,JPEG_ROOT) $(call cflags_of,libpng,PNG_ROOT) \
                  $(call cflags_of,libxxhash,XXHASH_ROOT) $(call cflags_of,zlib,ZLIB_ROOT)
LIBRARY_LIBS := $(HDF5_LIBS) $(BLIS_LIBS) $(call libs_of,libconfig,LIBCONFIG_ROOT,-lconfig) \
                $(call libs_of,libjpeg,JPEG_ROOT,-ljpeg) $(call libs_of,libpng,PNG_ROOT,-lpng) \
                $(call libs_of,libxxhash,XXHASH_ROOT,-lxxhash) $(call libs_of,zlib,ZLIB_ROOT,-lz)
