// The bounds of icl_stl.bounds that the report draws: the same formulas, one number at a time.
// Pure functions, names as in Python; arguments are taken as checked. tests/test_report.py compares
// both on a grid. Statements and proofs: paper_checks/THEORY.md.
"use strict";

const bounds = (() => {
  const TOLERANCE = 2e-7; // relative gap that the search proves
  const ROUNDING = 1e-12; // what it sets aside for rounding, and in late generations
  const ROUNDING_LATE = 1e-10;
  const LATE = 200;
  const MOST_INTERVALS = 200000;
  const OVERFLOW = 1e308;

  // A product in which a factor 0 beats an infinite one.
  const times = (zeroWins, other) => (zeroWins === 0 ? 0 : zeroWins * other);
  const isInfinite = (x) => Math.abs(x) === Infinity;

  // --- series: bounds/_series.py -----------------------------------------------------------------

  // q^k and 1 + q + ... + q^{k-1} of ratio = 1 - gap.
  function geometric(ratio, gap, count) {
    const near = Math.abs(gap) < 0.25;
    const exponent = times(Math.log1p(-(near ? gap : 0)), count);
    const power = near ? Math.exp(exponent) : ratio ** count;
    const deficit = near ? -Math.expm1(exponent) : 1 - power;
    return { power, total: gap === 0 ? count : deficit / gap };
  }

  function twoSum(x, y) {
    const total = x + y;
    const part = total - x;
    return [total, x - (total - part) + (y - part)];
  }

  function split(x) {
    const scaled = 134217729 * (Math.abs(x) < 1e290 ? x : 0);
    const high = scaled - (scaled - x);
    return [high, x - high];
  }

  function twoProduct(x, y) {
    const product = x * y;
    const [xHigh, xLow] = split(x);
    const [yHigh, yLow] = split(y);
    return [product, xHigh * yHigh - product + xHigh * yLow + xLow * yHigh + xLow * yLow];
  }

  // 1 - (1 - share) kappa to full relative precision, also where it nearly vanishes.
  function oneMinusProduct(share, kappa) {
    const [complement, rest] = twoSum(1, -kappa);
    const [product, tail] = twoProduct(share, kappa);
    const [total, carry] = twoSum(complement, product);
    return total + (carry + (rest + tail));
  }

  // --- one swapped real row: bounds/stability.py -------------------------------------------------

  // n chi_i = alpha (1 + r + ... + r^{i-1}) + r^i with r = (1 - alpha) kappa.
  function propagation(alpha, kappa, i) {
    const gap = oneMinusProduct(alpha, kappa);
    const ratio = (1 - alpha) * kappa;
    const series = geometric(ratio, gap, i);
    const corner = i === Infinity && gap === 0 && alpha === 0;
    const injected = corner ? 1 : times(alpha, series.total);
    const power = corner ? 0 : series.power;
    const squareRatio = (1 + power) / (1 + ratio);
    return { influence: injected + power, injected, squareRatio, gap };
  }

  // sqrt(n V_i)
  function deviation(alpha, spread) {
    const synthetic = times(1 - alpha, spread.injected);
    return Math.hypot(
      spread.influence,
      times(Math.sqrt(synthetic), Math.sqrt(spread.squareRatio)),
    );
  }

  function recursiveStability({ n, alpha, kappa, generation }) {
    const spread = propagation(alpha, kappa, generation);
    const influence = spread.influence / n;
    return {
      influence,
      gamma: times(kappa, influence),
      stable: spread.gap > 0,
      varianceProxy: deviation(alpha, spread) ** 2 / n,
    };
  }

  const phaseThreshold = (kappa) => (kappa > 1 ? (kappa - 1) / kappa : 0);

  // --- drift of the law: bounds/drift.py ---------------------------------------------------------

  // T_i <= (1-alpha)^i eps_0 + eps (1 - (1-alpha)^i)/alpha
  function driftConstantShare({ eps0, eps, alpha, generation }) {
    const series = geometric(1 - alpha, alpha, generation);
    const first = times(eps0, series.power);
    const later = times(eps, series.total);
    return { first, later, total: first + later };
  }

  // --- risk less empirical risk: bounds/generalization.py ----------------------------------------

  // (1 - alpha) times the drift of generation i - 1 when a fit to N rows errs by floor + c N^{-a}.
  function discrepancyAtRate({ n, alpha, generation, c, a, floor }) {
    const i = generation;
    const rho = 1 - alpha;
    const earlier = geometric(rho, alpha, Math.max(i - 1, 0));
    const later = i === Infinity ? alpha ** (a - 1) : times(alpha ** a, earlier.total);
    const transient = i === Infinity ? 0 : earlier.power;
    const mixed = i === 0 ? 0 : times(rho, transient + later);
    const kept = times(rho, geometric(rho, alpha, i).total);
    return times(c * n ** -a, mixed) + times(floor, kept);
  }

  function generalizationGapAtRate(constants) {
    const { n, alpha, generation, M, b, kappa, delta } = constants;
    const spread = propagation(alpha, kappa, generation);
    const later = isInfinite(spread.influence)
      ? Infinity
      : alpha * (spread.influence + (1 - alpha));
    const shift = M * discrepancyAtRate(constants);
    const stability = times(b, generation === 0 ? 1 : later) / n;
    const fluctuation =
      times(deviation(alpha, spread), M + 2 * b) * Math.sqrt(-Math.log(delta) / (2 * n));
    const total = shift + stability + fluctuation;
    return { shift, stability, fluctuation, total, vacuous: total > M };
  }

  // --- how much synthetic data: bounds/optimum.py, objective gap, fixed real set -----------------

  // What a ratio lambda makes of the shares; exact at 0 and at infinity.
  function mixture(lam, kappa) {
    const alpha = 1 / (1 + lam);
    const rho = 1 / (1 + 1 / lam);
    return {
      alpha,
      rho,
      logRho: -Math.log1p(1 / lam),
      product: alpha * rho,
      ratio: kappa * rho,
      gap: alpha + rho * (1 - kappa),
      injected: kappa === 1 ? 1 : 1 / (1 + lam * (1 - kappa)),
    };
  }

  function power(mix, exponent) {
    if (exponent === 0) return 1;
    return exponent === Infinity ? 0 : Math.exp(exponent * mix.logRho);
  }

  // 1 + r + ... + r^{k-1} and its derivative in r.
  function sumAndSlope(ratio, gap, count) {
    const { total } = geometric(ratio, gap, count);
    let near = 0;
    let term = (count * (count - 1)) / 2;
    for (let k = 2; k < 12; k += 1) {
      near += (k - 1) * term;
      term = (term * -gap * (count - k)) / (k + 1);
    }
    const slope = (total - count * ratio ** (count - 1)) / gap;
    return [total, Math.abs(gap) * count < 0.05 ? near : slope];
  }

  // A shift(lambda) + F floor(lambda) + H stability(lambda) + G fluctuation(lambda)
  function landscape({ n, M, b, kappa, c, a, delta, floor, generation }) {
    const i = generation;
    const A = M * c * n ** -a;
    const H = b / n;
    const G = (M + 2 * b) * Math.sqrt(-Math.log(delta) / (2 * n));
    const F = M * floor;
    const roundedDown = 1 - (LATE < i && i < Infinity ? ROUNDING_LATE : ROUNDING);

    const weigh = (weight, shape) => (weight > 0 ? weight * shape : 0);
    const weighted = (s) => ({
      shift: weigh(A, s.shift) + weigh(F, s.floor),
      stability: weigh(H, s.stability),
      fluctuation: weigh(G, s.fluctuation),
    });
    const combined = (shapes) => {
      const parts = weighted(shapes);
      return parts.shift + parts.stability + parts.fluctuation;
    };

    // n chi_i, and alpha sum_{s<i} r^{2s}
    function influenceOf(mix, follow = kappa) {
      if (i === Infinity) {
        const reached = mix.gap > 0 || follow === 1 ? mix.injected : Infinity;
        return [reached, reached / (1 + mix.ratio)];
      }
      const series = geometric(mix.ratio, mix.gap, i);
      const injected = mix.alpha === 0 ? 0 : mix.alpha * series.total;
      const square = injected === 0 ? 0 : injected * (1 + series.power);
      return [injected + series.power, square / (1 + mix.ratio)];
    }

    // On an interval from below; at a point where both ends are the same.
    function shiftOf(low, high) {
      const slow = a <= 1;
      const weight = (slow ? low : high).alpha ** (a - 1);
      const at = slow ? high : low;
      const spent = i === Infinity ? 1 : -Math.expm1((i - 1) * at.logRho);
      const fresh = i === 1 || spent === 0 ? 0 : weight * spent;
      return low.rho * (power(at, i - 1) + fresh);
    }

    const floorOf = (mix) => mix.rho * geometric(mix.rho, mix.alpha, i).total;

    function shapes(lam) {
      const mix = mixture(lam, kappa);
      const [influence, spread] = influenceOf(mix);
      return {
        shift: shiftOf(mix, mix),
        floor: floorOf(mix),
        stability: isInfinite(influence) ? Infinity : mix.alpha * influence + mix.product,
        fluctuation: Math.hypot(influence, Math.sqrt(mix.rho * spread)),
      };
    }

    const value = (lam) => combined(shapes(lam));

    // alpha sum_{s<i} r^{2s} from below for kappa > 1: by factors, or with kappa put to 1.
    function leastSpread(left, right) {
      const low = mixture(left, kappa);
      const series = geometric(low.ratio, low.gap, i);
      const squares = Math.min(series.total * (1 + series.power), OVERFLOW) / (1 + low.ratio);
      const { alpha } = mixture(right, kappa);
      const neutral = influenceOf(mixture(right, 1), 1)[1];
      return Math.max(alpha === 0 ? 0 : alpha * squares, neutral);
    }

    // A number below the objective on all of [left, right], from monotone factors.
    function lower(left, right) {
      const low = mixture(left, kappa);
      const high = mixture(right, kappa);
      const atHigh = influenceOf(high);
      const influence = (kappa >= 1 ? influenceOf(low) : atHigh)[0];
      const spread = kappa <= 1 ? atHigh[1] : leastSpread(left, right);
      const product = Math.min(low.product, high.product);
      const below = {
        shift: shiftOf(low, high),
        floor: floorOf(low),
        stability: isInfinite(influence) ? Infinity : high.alpha * influence + product,
        fluctuation: Math.hypot(influence, Math.sqrt(low.rho * spread)),
      };
      return combined(below) * roundedDown;
    }

    function influenceSlopes(mix, dRho) {
      const dRatio = kappa * dRho;
      if (i === Infinity) {
        const dInjected = (-dRho * (1 - kappa)) / mix.gap ** 2;
        const per = 1 + mix.ratio;
        return [dInjected, dInjected / per - ((mix.alpha / mix.gap) * dRatio) / per ** 2];
      }
      const [total, dTotal] = sumAndSlope(mix.ratio, mix.gap, i);
      const dPower = i * mix.ratio ** (i - 1);
      const [squares, dSquares] = sumAndSlope(mix.ratio ** 2, mix.gap * (1 + mix.ratio), i);
      return [
        -dRho * total + (mix.alpha * dTotal + dPower) * dRatio,
        -dRho * squares + mix.alpha * dSquares * 2 * mix.ratio * dRatio,
      ];
    }

    function slopes(lam) {
      const mix = mixture(lam, kappa);
      const { alpha, rho } = mix;
      const dRho = alpha ** 2;
      const scale = rho * alpha ** (a - 1);
      const dScale = dRho * alpha ** (a - 2) * (alpha + (1 - a) * rho);
      let dShift = dScale;
      let dFloor = 1;
      if (i !== Infinity) {
        const spent = i === 1 ? 0 : -Math.expm1((i - 1) * mix.logRho);
        const dSpent = i > 1 ? -(i - 1) * power(mix, i - 2) * dRho : 0;
        dShift = i * power(mix, i - 1) * dRho + dScale * spent + scale * dSpent;
        dFloor = dRho * sumAndSlope(rho, alpha, i + 1)[1];
      }
      const [influence, spread] = influenceOf(mix);
      const [dInfluence, dSpread] = influenceSlopes(mix, dRho);
      const fluctuation = Math.hypot(influence, Math.sqrt(rho * spread));
      const dSquare = 2 * influence * dInfluence + dRho * spread + rho * dSpread;
      return {
        shift: dShift,
        floor: dFloor,
        stability: alpha * dInfluence + dRho * (alpha - rho - influence),
        fluctuation: dSquare / (2 * fluctuation),
      };
    }

    const slope = (lam) => (isInfinite(value(lam)) ? Infinity : combined(slopes(lam)));
    return { value, slope, lower, parts: (lam) => weighted(shapes(lam)) };
  }

  // The middle in ln(1 + lambda); beyond the last finite edge the logarithm is doubled.
  function middle(left, right) {
    const low = Math.log1p(left);
    return Math.expm1(right === Infinity ? 2 * low + 1 : (low + Math.log1p(right)) / 2);
  }

  // Discard intervals of lambda whose lower bound is not below the best value found.
  function branchAndBound(at) {
    let tried = [];
    for (let k = 0; k <= 128; k += 1) tried.push(Math.expm1((45 / 128) * k));
    tried.push(Infinity);
    let open = tried.slice(1).map((right, k) => [tried[k], right]);
    tried = tried.map((lam) => [lam, at.value(lam)]);
    let best = Math.min(...tried.map((pair) => pair[1]));
    let certified = Infinity;
    while (open.length) {
      const halves = [];
      for (const [left, right] of open) {
        const lower = at.lower(left, right);
        const between = middle(left, right);
        if (
          open.length > MOST_INTERVALS ||
          lower >= best * (1 - TOLERANCE) ||
          !(left < between && between < right)
        ) {
          certified = Math.min(certified, lower);
        } else {
          halves.push([left, between], [between, right]);
        }
      }
      for (let k = 1; k < halves.length; k += 2) {
        const lam = halves[k][0];
        tried.push([lam, at.value(lam)]);
        best = Math.min(best, tried[tried.length - 1][1]);
      }
      open = halves;
    }
    if (best > 0 && at.value(Infinity) <= best * (1 + 1e-14)) {
      tried = tried.filter(([lam]) => lam === 0 || lam === Infinity); // flat to rounding
    }
    tried.sort((one, other) => (one[0] < other[0] ? -1 : 1));
    let k = 0;
    tried.forEach((pair, index) => {
      if (pair[1] < tried[k][1]) k = index;
    });
    return {
      best: tried[k][0],
      below: tried[Math.max(k - 1, 0)][0],
      above: tried[Math.min(k + 1, tried.length - 1)][0],
      lowerBound: Math.min(certified, tried[k][1]),
    };
  }

  // Two ratios between which the slope turns from negative to positive, or an end twice.
  function bracket(at, search) {
    let { below, above } = search;
    let step = search.best - below;
    while (below > 0 && at.slope(below) >= 0) {
      below = Math.max(0, below - step);
      step *= 2;
    }
    if (below === 0 && at.slope(0) >= 0) return [0, 0];
    if (above === Infinity) above = 2 * search.best + 1;
    step = Math.max(above - search.best, search.best);
    while (above < Infinity && at.slope(above) < 0) {
      above += step;
      step *= 2;
    }
    return [below, above];
  }

  // The stationary point next to the best ratio tried.
  function polished(at, search) {
    if (search.best === Infinity) return Infinity;
    let [below, above] = bracket(at, search);
    while (above - below > 1e-15 * above) {
      const step = (above - below) / 16;
      const grid = [below];
      for (let k = 1; k < 16; k += 1) grid.push(k * step + below);
      grid.push(above);
      let first = 0;
      let last = 15;
      while (first < last) {
        const k = (first + last) >> 1;
        if (at.slope(grid[k + 1]) >= 0) last = k;
        else first = k + 1;
      }
      if (grid[first] <= below && grid[first + 1] >= above) break;
      below = grid[first];
      above = grid[first + 1];
    }
    const between = (below + above) / 2;
    return at.value(between) <= at.value(search.best) * (1 + 1e-14) ? between : search.best;
  }

  // The parts of the bound at one ratio lambda, 0 to Infinity.
  function syntheticTradeOff(constants, lam) {
    const parts = landscape(constants).parts(lam);
    const total = parts.shift + parts.stability + parts.fluctuation;
    return { ...parts, total, vacuous: total > constants.M };
  }

  // lambda*, its bound, and a number that no ratio has a smaller bound than.
  function optimalSize(constants) {
    const at = landscape(constants);
    const search = branchAndBound(at);
    const lam = polished(at, search);
    const value = at.value(lam);
    const regime = lam === 0 ? "none" : lam === Infinity ? "unbounded" : "interior";
    return { lam, value, lowerBound: Math.min(search.lowerBound, value), regime };
  }

  return {
    discrepancyAtRate,
    driftConstantShare,
    generalizationGapAtRate,
    optimalSize,
    phaseThreshold,
    recursiveStability,
    syntheticTradeOff,
  };
})();
