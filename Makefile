# SPDX-License-Identifier: BSD-2-Clause
# A thin front to meson and scripts/. Works on a fresh Debian 12, as root or with sudo.

BUILD := build

.PHONY: all run test check kernels recipes soak bench install deb format clean

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD) $(NINJAFLAGS)

$(BUILD)/build.ninja:
	@scripts/packages.sh build
	@meson setup $(BUILD)

# Linux guests and this host share memory, interrupt each other, and serve each other web pages. ARGS=--help tells what else it can do.
run:
	@scripts/packages.sh build vm
	@$(MAKE) --no-print-directory all
	@/usr/bin/python3 demo/run.py $(ARGS)

# ARGS selects layers, for instance ARGS="unit protocol".
test:
	@scripts/packages.sh build check vm
	@/usr/bin/python3 scripts/test.py $(ARGS)

# One test, without asking for packages: make check T=roster, make check T=test_cli ARGS="-k json".
check: all
	@scripts/one.py $(BUILD) "$(T)" $(ARGS)

# The driver under each kernel from 5.10 to the newest that Debian packages. ARGS selects kernels, for instance ARGS="5.10 newest".
kernels:
	@scripts/packages.sh build check vm
	@$(MAKE) --no-print-directory all
	@/usr/bin/python3 scripts/kernels.py --build $(BUILD) $(ARGS)

# The recipes of docs/recipes, with real guests. ARGS selects some, for instance ARGS="ssh logs".
recipes:
	@scripts/packages.sh build vm recipes
	@$(MAKE) --no-print-directory all
	@/usr/bin/python3 scripts/recipes.py --build $(BUILD) $(ARGS)

# What a server goes through in months, within half an hour. ARGS is for pytest, for instance ARGS="-k machines".
soak:
	@scripts/packages.sh build check vm
	@$(MAKE) --no-print-directory all
	@scripts/soak.py $(BUILD) $(ARGS)

bench:
	@scripts/packages.sh build vm
	@/usr/bin/python3 bench/run.py $(ARGS)

install: all
	@meson install -C $(BUILD)

# The Debian packages, into build/deb.
deb:
	@scripts/packages.sh deb
	@packaging/deb.sh $(BUILD)/deb

format:
	@clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	@rm -rf $(BUILD)
