# Where the libraries are: *_ROOT variables where they are set (HDF5_ROOT, BLIS_ROOT ...; EasyBuild's and Cray's names
# too), then pkg-config, then the compiler wrapper h5pcc, then the usual folders.
comma := ,
HDF5_ROOT ?= $(firstword $(EBROOTHDF5) $(HDF5_DIR))
BLIS_ROOT ?= $(firstword $(EBROOTBLIS))
LIBCONFIG_ROOT ?= $(firstword $(EBROOTLIBCONFIG))
RANDOM123_ROOT ?= $(firstword $(EBROOTRANDOM123))

first_pkg = $(firstword $(foreach p,$(1),$(if $(shell pkg-config --exists $(p) 2>/dev/null && echo y),$(p))))
root_cflags = -isystem $(1)/include
root_libs = $(foreach d,$(wildcard $(1)/lib $(1)/lib64),-L$(d) -Wl$(comma)-rpath$(comma)$(d))

# $(call find_library,NAME,pkg-config names,libraries when nothing is known): sets NAME_CFLAGS and NAME_LIBS.
define find_library
$(1)_PKG := $$(if $$($(1)_ROOT),,$$(call first_pkg,$(2)))
$(1)_CFLAGS := $$(if $$($(1)_ROOT),$$(call root_cflags,$$($(1)_ROOT)),$$(if $$($(1)_PKG),$$(shell pkg-config --cflags $$($(1)_PKG))))
$(1)_LIBS := $$(if $$($(1)_ROOT),$$(call root_libs,$$($(1)_ROOT)) $(3),$$(if $$($(1)_PKG),$$(shell pkg-config --libs $$($(1)_PKG)),$(3)))
endef
$(eval $(call find_library,HDF5,hdf5-openmpi hdf5-mpi hdf5-mpich,-lhdf5))
$(eval $(call find_library,BLIS,blis blis-mt,-lblis))
$(eval $(call find_library,LIBCONFIG,libconfig,-lconfig))
$(eval $(call find_library,JPEG,libjpeg,-ljpeg))
$(eval $(call find_library,PNG,libpng,-lpng))
$(eval $(call find_library,XXHASH,libxxhash,-lxxhash))
$(eval $(call find_library,ZLIB,zlib,-lz))
$(eval $(call find_library,CMOCKA,cmocka,-lcmocka))
RANDOM123_CFLAGS := $(if $(RANDOM123_ROOT),$(call root_cflags,$(RANDOM123_ROOT)))

# `hdf5` of pkg-config may be the library without MPI; the wrapper of the parallel one never is.
ifeq ($(HDF5_ROOT)$(HDF5_PKG),)
H5PCC := $(firstword $(foreach w,h5pcc h5pcc.openmpi h5pcc.mpich,$(shell command -v $(w) 2>/dev/null)))
ifneq ($(H5PCC),)
H5PCC_SHOW := $(shell $(H5PCC) -show 2>/dev/null)
HDF5_CFLAGS := $(patsubst -I%,-isystem %,$(filter -I%,$(H5PCC_SHOW)))
HDF5_LIBS := $(filter -L% -l% -Wl$(comma)-rpath% %.so %.a,$(H5PCC_SHOW))
endif
endif

# Debian's BLIS has no pkg-config file and a folder of its own for the header.
ifeq ($(BLIS_ROOT)$(BLIS_PKG),)
BLIS_INCLUDE := $(patsubst %/blis.h,%,$(firstword $(wildcard /usr/include/$(shell uname -m)-linux-gnu/blis.h \
    /usr/include/$(shell uname -m)-linux-gnu/blis*/blis.h /usr/include/blis/blis.h /usr/local/include/blis/blis.h)))
BLIS_CFLAGS := $(if $(BLIS_INCLUDE),-isystem $(BLIS_INCLUDE))
endif
# A root folder may hold blis.h or blis/blis.h.
BLIS_CFLAGS += $(if $(wildcard $(BLIS_ROOT)/include/blis/blis.h),-isystem $(BLIS_ROOT)/include/blis)

LIBRARY_CFLAGS := $(strip $(HDF5_CFLAGS) $(BLIS_CFLAGS) $(LIBCONFIG_CFLAGS) $(RANDOM123_CFLAGS) $(JPEG_CFLAGS) \
                  $(PNG_CFLAGS) $(XXHASH_CFLAGS) $(ZLIB_CFLAGS))
LIBRARY_LIBS := $(strip $(HDF5_LIBS) $(BLIS_LIBS) $(LIBCONFIG_LIBS) $(JPEG_LIBS) $(PNG_LIBS) $(XXHASH_LIBS) $(ZLIB_LIBS))
