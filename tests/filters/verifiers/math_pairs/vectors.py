r"""Points, vectors, matrices, complex numbers."""

RIGHT = [
    # vectors matrices complex
    (r"\boxed{\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}}", r"\begin{bmatrix}1&0\\0&1\end{bmatrix}"),
    (r"\boxed{\begin{pmatrix} 1/2 \\ -3/2 \end{pmatrix}}", r"\begin{pmatrix} \frac12 \\ -\frac32 \end{pmatrix}"),
    (r"\boxed{\begin{bmatrix} 1 \\ 2 \\ 3 \end{bmatrix}}", r"\begin{pmatrix}1\\2\\3\end{pmatrix}"),
    (r"\boxed{(1, 2, 3)^T}", r"\begin{pmatrix}1\\2\\3\end{pmatrix}"),
    (r"\boxed{\langle 1, 2, 3 \rangle}", "(1,2,3)"),
    (r"\boxed{\vec{v} = (1, 2)}", "(1,2)"),
    (r"\boxed{\mathbf{v} = \begin{pmatrix}1\\2\end{pmatrix}}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"\boxed{i + 2j}", r"2\mathbf{j}+\mathbf{i}"),
    (r"\boxed{2 + 3i}", "3i+2"),
    (r"\boxed{\frac{1+i}{2}}", r"\frac12 + \frac12 i"),
    (r"\boxed{\frac{1}{2} + \frac{i}{2}}", "0.5+0.5i"),
    (r"\boxed{e^{i\pi/3}}", r"\frac{1}{2}+\frac{\sqrt{3}}{2}i"),
    (r"\boxed{\cos 60^\circ + i\sin 60^\circ}", r"\frac{1}{2}+\frac{\sqrt{3}}{2}i"),
    (r"\boxed{z = -i}", "-i"),
    (r"\boxed{(x, y) = (3, -1)}", "(3,-1)"),
    (r"\boxed{x = 3,\ y = -1}", "(3,-1)"),
    ("So $x=3$, $y=-1$.", "(3,-1)"),
    (r"\boxed{(1,2), (3,4)}", "(3,4),(1,2)"),
    (r"\boxed{\left(3, \frac{\pi}{2}\right)}", r"(3,\pi/2)"),
    (r"\boxed{P(2, 3)}", "(2,3)"),
    (r"\boxed{\text{The point is } (2,3)}", "(2,3)"),
    # points
    (r"\boxed{A(1,2), B(3,4)}", "(1,2),(3,4)"),
    (r"\boxed{(1,2)}", r"\begin{pmatrix}1&2\end{pmatrix}"),
    (r"\boxed{\text{The center is } (2,3)}", "(2,3)"),
    (r"\boxed{\text{Area is } 5}", "5"),
    (r"\boxed{\text{Area} = 5\text{ cm}^2}", "5"),
    (r"\boxed{(x,y)=(1,2)}", "(1,2)"),
    (r"The answer is $\begin{pmatrix}3&-1\\0&\frac{1}{2}\end{pmatrix}$.", r"\begin{bmatrix}3&-1\\0&0.5\end{bmatrix}"),
    ("The answer is\n$$\\begin{pmatrix} 4 \\\\ 7 \\\\ -2 \\end{pmatrix}$$", r"\begin{pmatrix}4\\7\\-2\end{pmatrix}"),
    (r"The answer is \begin{pmatrix} 4 & 1 \\ 7 & 0 \end{pmatrix}.", r"\begin{pmatrix}4&1\\7&0\end{pmatrix}"),
    (
        "The answer is \\(\\begin{pmatrix}\n4 & 1 \\\\\n7 & 0\n\\end{pmatrix}\\)",
        r"\begin{pmatrix}4&1\\7&0\end{pmatrix}",
    ),
    (
        "\\boxed{\\begin{pmatrix}"
        + r"\\".join("&".join(f"\\frac{{{i * j + 1}}}{{{i + j + 1}}}" for j in range(9)) for i in range(9))
        + "\\end{pmatrix}}",
        "\\begin{pmatrix}"
        + r"\\ ".join(" & ".join(f"\\dfrac{{{i * j + 1}}}{{{i + j + 1}}}" for j in range(9)) for i in range(9))
        + "\\end{pmatrix}",
    ),
    (r"\boxed{\left[\begin{array}{cc} 1 & 2 \\ 3 & 4 \end{array}\right]}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    (r"\boxed{\left(\begin{array}{c} 1 \\ 2 \end{array}\right)}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (
        "The inverse is $$\\begin{bmatrix} 1 & 2 \\\\ 3 & 5 \\end{bmatrix}^{-1} = \\begin{bmatrix} -5 & 2 \\\\ 3 & -1 \\end{bmatrix}.$$",
        r"\begin{pmatrix}-5&2\\3&-1\end{pmatrix}",
    ),
    (r"The answer is \[ A = \begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix} \]", r"\begin{pmatrix}1&0\\0&1\end{pmatrix}"),
    (r"\boxed{\left(\begin{matrix}1\\2\end{matrix}\right)}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"\boxed{\begin{vmatrix}1&2\\3&4\end{vmatrix}}", "-2"),
    # matrices
    (r"\boxed{\begin{bmatrix} 2 & 0 \\ 0 & 2 \end{bmatrix}}", r"2\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}"),
    (
        r"\boxed{A^{-1} = \begin{pmatrix} 1 & -1 \\ 0 & 1 \end{pmatrix}}",
        r"\begin{pmatrix} 1 & -1 \\ 0 & 1 \end{pmatrix}",
    ),
    (
        r"\boxed{\frac{1}{2}\begin{pmatrix} 2 & 4 \\ 6 & 8 \end{pmatrix}}",
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
    ),
    (r"\boxed{\begin{pmatrix} -1 \\ 5 \end{pmatrix}}", "(-1, 5)"),
    (r"\boxed{\begin{pmatrix} x \\ y \end{pmatrix} = \begin{pmatrix} 3 \\ 4 \end{pmatrix}}", "(3,4)"),
]

WRONG = [
    # vectors matrices complex
    (r"\boxed{\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}}", r"\begin{bmatrix}0&1\\1&0\end{bmatrix}"),
    (r"\boxed{2 - 3i}", "2+3i"),
    (r"\boxed{-i}", "i"),
    (r"\boxed{x = -1,\ y = 3}", "(3,-1)"),
    (r"\boxed{(2,1), (3,4)}", "(3,4),(1,2)"),
    # points
    (r"\boxed{P(2,3)}", "(3,2)"),
    (r"\boxed{(1,2,3)}", r"\begin{pmatrix}1\\2\\4\end{pmatrix}"),
    (r"\boxed{\begin{pmatrix}1&2\\3&4\end{pmatrix}}", r"\begin{pmatrix}1&2&3&4\end{pmatrix}"),
    (r"\boxed{\begin{pmatrix}1\\2\end{pmatrix}}", r"\begin{pmatrix}1&2\end{pmatrix}"),
    (r"\boxed{\begin{pmatrix}0.0000001\end{pmatrix}}", r"\begin{pmatrix}0.0000002\end{pmatrix}"),
    # matrices
    (
        r"\boxed{\frac{1}{2}\begin{pmatrix} 2 & 4 \\ 6 & 8 \end{pmatrix}}",
        r"\begin{pmatrix} 2 & 4 \\ 6 & 8 \end{pmatrix}",
    ),
]
