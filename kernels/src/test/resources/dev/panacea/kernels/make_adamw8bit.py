# Makes adamw8bit.txt: three steps of 8-bit AdamW by the formulas of bitsandbytes' CUDA kernel (csrc/kernels.cu, kOptimizerStatic8bit2StateBlockwise
# and quantize_2D, version 0.50), written out with numpy in single precision, one value at a time. Run: python make_adamw8bit.py > adamw8bit.txt
import numpy as np

f = np.float32


def linspace(count):  # torch.linspace(0.1, 1, count) in single precision
    step = (f(1) - f(0.1)) / f(count - 1)
    up = [np.float32(np.float64(step) * i + np.float64(f(0.1))) for i in range(count)]
    down = [np.float32(1 - np.float64(step) * (count - 1 - i)) for i in range(count)]
    return np.array([up[i] if i < count // 2 else down[i] for i in range(count)], f)


def dynamic_map(signed):
    data = [f(0), f(1)]
    for i in range(7):
        ends = linspace((2**i if signed else 2 ** (i + 1)) + 1)
        means = f(10.0 ** (i - 6)) * ((ends[:-1] + ends[1:]) / f(2))
        data += list(means) + (list(-means) if signed else [])
    return np.sort(np.array(data, f))


def quantize(code, x, signed):
    pivot, upper_pivot, lower_pivot = 127, 255, 0
    lower, upper = f(-1 if signed else 0), f(1)
    value = code[pivot]
    i = 64
    while i > 0:
        if x > value:
            lower_pivot, lower, pivot = pivot, value, pivot + i
        else:
            upper_pivot, upper, pivot = pivot, value, pivot - i
        value = code[pivot]
        i //= 2
    if x > value:
        return upper_pivot if x > (upper + value) * f(0.5) else pivot
    return lower_pivot if x < (lower + value) * f(0.5) else pivot


def step(p, g, m, v, m_absmax, v_absmax, maps, lr, beta1, beta2, eps, decay, t):
    # In double precision, where the kernel loses four digits of 1 - 0.999 in single.
    c1, c2 = 1 - np.float64(beta1) ** t, np.sqrt(1 - np.float64(beta2) ** t)
    step_size, c2 = f(-lr * c2 / c1), f(c2)
    for b in range(len(m_absmax)):
        block = range(b * 256, min(len(p), b * 256 + 256))
        s1 = [maps[0][m[j]] * m_absmax[b] * beta1 + (f(1) - beta1) * g[j] if np.isfinite(g[j]) else f(0) for j in block]
        s2 = [maps[1][v[j]] * v_absmax[b] * beta2 + (f(1) - beta2) * g[j] * g[j] if np.isfinite(g[j]) else f(0) for j in block]
        m_absmax[b], v_absmax[b] = max(abs(s) for s in s1), max(abs(s) for s in s2)
        for k, j in enumerate(block):
            if np.isfinite(g[j]):
                p[j] = p[j] + step_size * (s1[k] / (np.sqrt(s2[k]) + c2 * eps))
                p[j] = p[j] * (f(1) - lr * decay)
            m[j], v[j] = quantize(maps[0], s1[k] / m_absmax[b], True), quantize(maps[1], s2[k] / v_absmax[b], False)
            if np.signbit(maps[0][m[j]]) != np.signbit(s1[k]):
                m[j] += 1 if s1[k] > 0 else -1


def line(name, values):
    print(name, *("%08x" % int(x.view(np.uint32)) for x in np.array(values, f)))


random = np.random.default_rng(3)
n = 600
maps = dynamic_map(True), dynamic_map(False)
p = random.normal(0, 0.1, n).astype(f)
m, v, m_absmax, v_absmax = [0] * n, [0] * n, [f(0)] * 3, [f(0)] * 3
line("signed", maps[0])
line("unsigned", maps[1])
line("before", p)
p = list(p)
for t in range(1, 4):
    g = (random.normal(0, 1, n) * 10.0 ** random.uniform(-6, 0, n)).astype(f)
    g[[5, 300]] = np.inf, np.nan
    line("gradient%d" % t, g)
    step(p, g, m, v, m_absmax, v_absmax, maps, f(1e-2), f(0.9), f(0.999), f(1e-8), f(0.1), t)
line("after", p)
line("m_absmax", m_absmax)
line("v_absmax", v_absmax)
print("m", *("%02x" % c for c in m))
print("v", *("%02x" % c for c in v))
