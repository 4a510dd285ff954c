// A 16-bit Galois shift register (x^16 + x^14 + x^13 + x^11 + 1, period 65535) that only moves when told to.
// `seed_enable` loads a seed; the all-zero state, from which it could never leave, becomes 16'hace1.
module lfsr (
    input  wire        clk,
    input  wire        rst,
    input  wire        step,
    input  wire        seed_enable,
    input  wire [15:0] seed,
    output reg  [15:0] state
);
    always @(posedge clk or posedge rst)
        if (rst)              state <= 16'hace1;
        else if (seed_enable) state <= (seed == 16'd0) ? 16'hace1 : seed;
        else if (step)        state <= (state >> 1) ^ (state[0] ? 16'hb400 : 16'h0000);
endmodule
