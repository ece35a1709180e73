# `make demo` and `make test` set everything up in .venv on a fresh machine with Python 3.11 or later; nothing else is needed.
# `regress` is the pattern to copy for Makefiles of your own: run the commands, let `convtool compare` fail the build.

PYTHON ?= python3
OLDEST ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := $(BIN)/convtool
S      := sample_images
R      := regress
W      := build/wheel
O      := build/oldest
C      := build/reached

# Of each target; the seeds go on from FUZZ_FIRST.
FUZZ_SECONDS ?= 60
FUZZ_FIRST   ?= 0

# The compatible mode, so that a clone named convtool is not taken for the package in the folder above it.
EDITABLE := --quiet --disable-pip-version-check --config-settings editable_mode=compat --editable

.DEFAULT_GOAL := help
.PHONY: help demo test faults coverage wheel oldest references quality bench fuzz lint format regress readme clean

help:  ## Show the targets.
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

$(VENV)/created:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml
	$(BIN)/python -m pip install $(EDITABLE) .
	@touch $@

$(VENV)/with-%: $(VENV)/installed
	$(BIN)/python -m pip install $(EDITABLE) '.[$*]'
	@touch $@

demo: $(VENV)/installed  ## Install, blur a photograph, restore it, and report.
	@mkdir -p demo
	$(RUN) convolve $(S)/camera.png --kernel disk:radius=4 --output demo/blurred.png
	$(RUN) deconvolve demo/blurred.png --kernel disk:radius=4 --output demo/restored.png \
		--reference $(S)/camera.png --report demo/report.json --verbose
	@echo "Look at $(S)/camera.png, demo/blurred.png and demo/restored.png; the report is demo/report.json."

test: $(VENV)/with-test  ## Install what the tests need, and run them.
	$(BIN)/python -m pytest -n auto

FAULT_IMAGES ?= 200
FAULT_KILLS ?= 20
FAULT_LIMITS ?= 36
faults: $(VENV)/with-test  ## Kill, interrupt and starve long jobs for real: FAULT_IMAGES images, FAULT_KILLS kills, FAULT_LIMITS limits.
	FAULT_IMAGES=$(FAULT_IMAGES) FAULT_KILLS=$(FAULT_KILLS) \
		FAULT_LIMITS=$(FAULT_LIMITS) FAULT_COMMANDS=all \
		$(BIN)/python -m pytest -s tests/test_batch_faults.py tests/test_foretold_memory.py

coverage: $(VENV)/with-test  ## Run `make test` with every process measured; list the lines that no test reaches.
	@rm -rf $(C) && mkdir -p $(C)
	$(BIN)/python tests/reached.py prepare $(C)
	REACHED=$(CURDIR)/$(C) PYTHONPATH=$(CURDIR)/tests/reach $(MAKE) test
	$(BIN)/python tests/reached.py report $(C)

wheel: $(VENV)/created  ## Build the wheel, install it alone in a new environment, and run the README's commands with it.
	@rm -rf $(W) && mkdir -p $(W)/source
	# From a copy of what git knows: setuptools would also take what an earlier build or install left in this folder.
	git ls-files -z | tar --null -T - -cf - | tar -xf - -C $(W)/source
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(W) $(W)/source
	$(PYTHON) -m venv $(W)/alone
	$(W)/alone/bin/python -m pip install --quiet --disable-pip-version-check $(W)/*.whl
	$(W)/alone/bin/python -E tests/installed.py $(W)/*.whl

oldest:  ## Run the tests with the oldest versions of the dependencies that are declared: all, or `make oldest TESTS="FILES"`.
	@rm -rf $(O) && mkdir -p $(O)
	$(OLDEST) -m venv $(O)/env
	$(O)/env/bin/python tests/oldest.py test > $(O)/pins.txt
	$(O)/env/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --requirement $(O)/pins.txt
	$(O)/env/bin/python -m pip install --no-deps $(EDITABLE) .
	$(O)/env/bin/python -m pip check
	$(O)/env/bin/python -m pytest -n auto $(TESTS)

references: $(VENV)/with-references  ## Install torch and onnx, which more tests compare with.

quality: $(VENV)/with-quality  ## Measure the results beside those of others: tables, quality/results.json, quality/gallery.png.
	@mkdir -p quality
	$(BIN)/python -m tests.quality --json quality/results.json --gallery quality/gallery.png

bench: $(VENV)/with-bench  ## Measure the speed beside that of others: tables, bench/results.json, bench/cost.svg.
	@mkdir -p bench
	$(BIN)/python -m tests.bench --json bench/results.json --plot bench/cost.svg

fuzz: $(VENV)/with-test  ## Feed damaged files and texts to the readers, FUZZ_SECONDS=60 each; fail at what they cannot take.
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --first $(FUZZ_FIRST)

lint: $(VENV)/with-lint  ## Check style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/with-lint  ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

regress: $(VENV)/installed  ## Run the commands on the sample images; fail when a result leaves its tolerance.
	@rm -rf $(R) && mkdir -p $(R)
	# A float round trip through a pipe is exact up to rounding.
	$(RUN) convolve $(S)/camera.png -k random:size=5,seed=1 --precision double -o - \
		| $(RUN) deconvolve - -k random:size=5,seed=1 --method pinv -o $(R)/exact.npy
	$(RUN) compare $(R)/exact.npy $(S)/camera.png --max-abs 1e-6
	# Through an 8-bit file the default method comes back this close.
	$(RUN) convolve $(S)/camera.png -k gaussian:sigma=2 -o $(R)/soft.png
	$(RUN) deconvolve $(R)/soft.png -k gaussian:sigma=2 -o $(R)/sharp.png
	$(RUN) compare $(R)/sharp.png $(S)/camera.png --min-psnr 29
	$(RUN) deconvolve $(R)/soft.png -k gaussian:sigma=2 --method wiener -o $(R)/wiener.png
	$(RUN) compare $(R)/wiener.png $(S)/camera.png --min-psnr 29
	# Colour, in linear light.
	$(RUN) convolve $(S)/chelsea.png -k motion:length=9,angle=20 --linear -o $(R)/moved.png
	$(RUN) deconvolve $(R)/moved.png -k motion:length=9,angle=20 --linear -o $(R)/still.png
	$(RUN) compare $(R)/still.png $(S)/chelsea.png --min-psnr 36
	# 16 bits, other boundaries, and both engines.
	$(RUN) correlate $(S)/galaxies_16bit.tif -k sobel-x --boundary reflect --dtype float32 --engine fft -o $(R)/fft.tif
	$(RUN) correlate $(S)/galaxies_16bit.tif -k sobel-x --boundary reflect --dtype float32 --engine direct -o $(R)/direct.tif
	$(RUN) compare $(R)/fft.tif $(R)/direct.tif --max-rel 1e-5
	# Convolving with a kernel is correlating with the flipped one.
	$(RUN) convolve $(S)/cell.png -k motion:length=7,angle=0 -o $(R)/convolved.png
	$(RUN) correlate $(S)/cell.png -k motion:length=7,angle=180 -o $(R)/correlated.png
	$(RUN) compare $(R)/convolved.png $(R)/correlated.png --max-abs 1
	# A merge does what the chain does: everywhere, since it is periodic.
	$(RUN) make-kernel random:size=3,5,seed=1 -o $(R)/first.npy
	$(RUN) make-kernel gaussian:sigma=1.5 -o $(R)/second.npy
	$(RUN) convolve $(S)/camera.png -k $(R)/first.npy --precision double -o - \
		| $(RUN) convolve - -k $(R)/second.npy -o $(R)/chain.npy
	$(RUN) merge-kernels $(R)/first.npy $(R)/second.npy -o $(R)/both.npy
	$(RUN) convolve $(S)/camera.png -k $(R)/both.npy --precision double -o $(R)/merge.npy
	$(RUN) compare $(R)/merge.npy $(R)/chain.npy --max-abs 1e-10
	# With zeros outside it would not, at the border: status 1, and nothing is written.
	$(RUN) merge-kernels $(R)/first.npy $(R)/second.npy --boundary zero -o $(R)/inexact.npy; test $$? -eq 1
	! test -e $(R)/inexact.npy
	# The way back: a disk as five columns and rows, to 1 %.
	$(RUN) split-kernel disk:radius=6 --tol 0.01 -o $(R)/disk
	$(RUN) merge-kernels $(R)/disk.y.npy $(R)/disk.x.npy -o $(R)/disk.npy
	$(RUN) convolve $(S)/camera.png -k $(R)/disk.npy --dtype float32 -o $(R)/split.tif
	$(RUN) convolve $(S)/camera.png -k disk:radius=6 --dtype float32 -o $(R)/disk.tif
	$(RUN) compare $(R)/split.tif $(R)/disk.tif --max-rel 0.01
	# The maximum of 5 x 5 over that of 3 x 3 is that of 7 x 7.
	$(RUN) maxpool $(S)/camera.png --window 3 --padding same -o $(R)/three.png
	$(RUN) maxpool $(R)/three.png --window 5 --padding same -o $(R)/five.png
	$(RUN) maxpool $(S)/camera.png --window 7 --padding same -o $(R)/seven.png
	$(RUN) compare $(R)/five.png $(R)/seven.png --max-abs 0
	# Maxima of windows, and a convolution whose product and sum are chosen.
	printf '1,1,1\n1,1,1\n1,1,1\n' > $(R)/ones.csv
	$(RUN) maxpool $(S)/chelsea.png --window 3 --padding same -o $(R)/maxima.png
	$(RUN) local $(S)/chelsea.png -k $(R)/ones.csv --combine mul --reduce max --boundary edge -o $(R)/dilated.png
	$(RUN) compare $(R)/dilated.png $(R)/maxima.png --max-abs 0
	$(RUN) local $(S)/camera.png -k random:size=4,3 --boundary reflect --dtype float32 -o $(R)/local.tif
	$(RUN) correlate $(S)/camera.png -k random:size=4,3 --boundary reflect --dtype float32 -o $(R)/linear.tif
	$(RUN) compare $(R)/local.tif $(R)/linear.tif --max-rel 1e-6
	# A gradient is a correlation: along X alone, every row an image of its own.
	printf -- '-0.5,0,0.5\n' > $(R)/central.csv
	$(RUN) edges $(S)/camera.png --axes NX -o $(R)/edges.npy --components $(R)/gradient.npy
	$(RUN) correlate $(S)/camera.png -k $(R)/central.csv --boundary reflect -o $(R)/difference.npy
	$(RUN) compare $(R)/gradient.npy $(R)/difference.npy --max-abs 0
	# The matrix of a correlation is the convolution of the identity's rows.
	printf '1,2,0,5\n' > $(R)/row.csv
	$(RUN) matrix -k delta --image-shape 1,64 --dense -o $(R)/identity.npy
	$(RUN) matrix -k $(R)/row.csv --image-shape 1,64 --operation correlate --dense -o $(R)/matrix.npy
	$(RUN) convolve $(R)/identity.npy -k $(R)/row.csv -o $(R)/rows.npy
	$(RUN) compare $(R)/rows.npy $(R)/matrix.npy --max-abs 1e-14
	# The inverse of what a convolution layer does: zeros outside, one pixel of padding.
	printf '0,1,0\n1,8,2\n0,1,0\n' > $(R)/layer.csv
	$(RUN) correlate $(S)/cell.png -k $(R)/layer.csv --boundary zero --padding 1 -o $(R)/layer.npy
	$(RUN) deconvolve $(R)/layer.npy -k $(R)/layer.csv --operation correlate --boundary zero --padding 1 \
		--method least-squares -o $(R)/inverse.npy
	$(RUN) compare $(R)/inverse.npy $(S)/cell.png --max-rel 1e-5
	# Every second pixel alone: the image of least norm explains them.
	$(RUN) convolve $(S)/camera.png -k gaussian:sigma=1 --boundary zero --stride 2 --dtype float32 -o $(R)/half.tif
	$(RUN) deconvolve $(R)/half.tif -k gaussian:sigma=1 --boundary zero --stride 2 --image-shape 512,512 \
		--method least-squares -o $(R)/whole.tif
	$(RUN) convolve $(R)/whole.tif -k gaussian:sigma=1 --boundary zero --stride 2 -o $(R)/again.tif
	$(RUN) compare $(R)/again.tif $(R)/half.tif --max-rel 1e-5
	# A crop of a moved scene: what lay outside its frame is unknown.
	$(RUN) convolve $(S)/camera.png -k motion:length=15,angle=30 --padding valid -o $(R)/crop.png
	$(RUN) convolve $(S)/camera.png -k delta:size=9,13 --padding valid -o $(R)/truth.png
	$(RUN) deconvolve $(R)/crop.png -k motion:length=15,angle=30 --method tikhonov -o $(R)/linear_crop.png
	$(RUN) compare $(R)/linear_crop.png $(R)/truth.png --min-psnr 28
	$(RUN) deconvolve $(R)/crop.png -k motion:length=15,angle=30 --method rl -o $(R)/rl.png
	$(RUN) compare $(R)/rl.png $(R)/truth.png --min-psnr 29
	$(RUN) convolve $(S)/chelsea.png -k gaussian:sigma=1.5 --boundary reflect -o $(R)/soft_tv.png
	$(RUN) deconvolve $(R)/soft_tv.png -k gaussian:sigma=1.5 --method tv -o $(R)/tv.png
	$(RUN) compare $(R)/tv.png $(S)/chelsea.png --min-psnr 34
	# The kernel between two images, and that of a point source.
	$(RUN) convolve $(S)/camera.png -k motion:length=9,angle=30 --boundary reflect -o $(R)/moving.png
	$(RUN) estimate-kernel $(R)/moving.png --sharp $(S)/camera.png --size 11 -o $(R)/motion.npy
	$(RUN) convolve $(S)/camera.png -k $(R)/motion.npy --dtype float32 -o $(R)/estimated.tif
	$(RUN) convolve $(S)/camera.png -k motion:length=9,angle=30 --dtype float32 -o $(R)/known.tif
	$(RUN) compare $(R)/estimated.tif $(R)/known.tif --max-rel 0.001
	$(RUN) make-kernel delta:size=81 -o $(R)/point.npy
	$(RUN) convolve $(R)/point.npy -k gaussian:sigma=1.8 -o $(R)/star.npy
	$(RUN) estimate-kernel $(R)/star.npy --stars --size 15 -o $(R)/seen.npy
	$(RUN) make-kernel gaussian:sigma=1.8,size=15 -o $(R)/made.npy
	$(RUN) compare $(R)/seen.npy $(R)/made.npy --max-rel 0.01
	# Shifts of the input are shifts of the output; by stride 2, half as far, and not as far.
	$(RUN) verify-equivariance $(S)/camera.png --chain "correlate:$(R)/first.npy,stride=2 maxpool:2" --shift 100,-20
	$(RUN) verify-equivariance $(S)/camera.png --chain "correlate:$(R)/first.npy,stride=2 maxpool:2" --shift 100,-20 \
		--output-shift 100,-20; test $$? -eq 1
	$(RUN) verify-equivariance $(S)/cell.png --operation edges --group rot90
	# Many images: the same bytes whatever the jobs and threads, and what is there is not done again.
	$(RUN) convolve $(S) -k gaussian:sigma=2 --reproducible --output-dir $(R)/one --jobs 1
	$(RUN) convolve $(S) -k gaussian:sigma=2 --reproducible --output-dir $(R)/two --jobs 3 --threads 1
	diff -r $(R)/one $(R)/two
	$(RUN) convolve $(S) -k gaussian:sigma=2 --reproducible --output-dir $(R)/two --skip-existing --json \
		| tail -1 | grep -q '"done": 0,'
	@echo "regress: all results are within their tolerances"

readme: $(VENV)/with-test  ## Write the commands' help into README.md.
	$(BIN)/python tests/readme.py

clean:  ## Remove what the targets above made.
	rm -rf $(VENV) demo quality bench $(R) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
