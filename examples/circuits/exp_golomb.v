// An exponential-Golomb encoder of order 0, one code bit a clock: the escape code of an entropy coder.
// value + 1 in binary, written after as many zeros as it has bits less one: 0 -> 1, 1 -> 010, 2 -> 011, 3 -> 00100.
// `value` is taken when `valid` and `ready` are both high; `bit_valid` marks the clocks in which `code_bit` counts, and
// `last` the last bit of a code.
module exp_golomb (
    input  wire       clk,
    input  wire       rst,
    input  wire       valid,
    input  wire [7:0] value,
    output wire       ready,
    output reg        bit_valid,
    output reg        code_bit,
    output reg        last
);
    reg [8:0] word;   // value + 1
    reg [3:0] zeros;  // zeros still to write
    reg [3:0] bits;   // bits of `word` still to write, 0: idle

    assign ready = bits == 4'd0;

    wire [8:0] next = {1'b0, value} + 9'd1;
    reg  [3:0] top;   // position of the highest one of `next`
    integer    i;
    always @* begin
        top = 4'd0;
        for (i = 1; i < 9; i = i + 1)
            if (next[i]) top = i[3:0];
    end

    always @(posedge clk or posedge rst)
        if (rst) begin
            word      <= 9'd0;
            zeros     <= 4'd0;
            bits      <= 4'd0;
            bit_valid <= 1'b0;
            code_bit  <= 1'b0;
            last      <= 1'b0;
        end else begin
            bit_valid <= ~ready;
            code_bit  <= ~ready & (zeros == 4'd0) & word[bits - 4'd1];
            last      <= (bits == 4'd1) & (zeros == 4'd0);
            if (ready) begin
                if (valid) begin
                    word  <= next;
                    zeros <= top;
                    bits  <= top + 4'd1;
                end
            end else if (zeros != 4'd0)
                zeros <= zeros - 4'd1;
            else
                bits <= bits - 4'd1;
        end
endmodule
