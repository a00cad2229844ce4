# The short way to CMake: `make` leaves the command at build/sterna.
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local

.PHONY: all check test demo bench fuzz lint install clean

all:
	@cmake --preset release $(CMAKE_FLAGS) > /dev/null
	@cmake --build build -j $(JOBS) -- --no-print-directory

# Under a minute: units, kernels against the reference, goldens, command line, layers, symbols.
check: all
	@ctest --test-dir build --no-tests=error --output-on-failure -j $(JOBS)

# Everything again under the address and undefined-behaviour sanitizers, the ARM kernels under qemu, then a
# short fuzz of every reader.
test: check
	@cmake --preset asan $(CMAKE_FLAGS) > /dev/null
	@cmake --build build-asan -j $(JOBS) -- --no-print-directory
	@ctest --test-dir build-asan --no-tests=error --output-on-failure -j $(JOBS)
	@tools/check_arm || [ $$? -eq 77 ]
	@tools/fuzz 10

demo:
	@tools/demo

bench: all
	@tools/bench

fuzz:
	@tools/fuzz 300

lint:
	@tools/lint

install: all
	@cmake --install build --prefix $(PREFIX)

clean:
	rm -rf build build-debug build-asan build-fuzz
