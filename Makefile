# The short way to CMake. `make` leaves the command at build/sterna.
JOBS ?= $(shell nproc)
PRESET ?= release

.PHONY: all check clean
all:
	@cmake --preset $(PRESET) $(CMAKE_FLAGS) > /dev/null
	@cmake --build build -j $(JOBS)

check: all
	@ctest --test-dir build --output-on-failure -j $(JOBS)

clean:
	rm -rf build build-debug build-asan
