// A multiply-accumulate with a shifter, for group scales that are powers of two (docs/lowbit.md): each product
// is moved left by GROUPS - 1 - group before it is added. GROUPS = 1 is a plain multiply-accumulate.
module shift_mac #(
    parameter A = 4,       // bits of the first operand, signed
    parameter B = 4,       // bits of the second operand, signed
    parameter GROUPS = 4,  // group scales: shifts of 0 to GROUPS - 1
    parameter SUM = 24     // bits of the accumulator, signed
) (
    input  wire                  clk,
    input  wire                  clear,
    input  wire signed   [A-1:0] a,
    input  wire signed   [B-1:0] b,
    input  wire            [2:0] shift,
    output reg  signed [SUM-1:0] sum
);
    // the product has a register of its own, so that the multiplier is the same with and without a shifter
    reg  signed [A+B-1:0] product;
    wire signed [A+B+GROUPS-2:0] moved;

    generate
        if (GROUPS == 1)
            assign moved = product;
        else begin
            reg [$clog2(GROUPS)-1:0] by;
            always @(posedge clk) by <= shift[$clog2(GROUPS)-1:0];
            assign moved = $signed({{(GROUPS - 1){product[A+B-1]}}, product}) <<< by;
        end
    endgenerate

    always @(posedge clk) begin
        product <= a * b;
        if (clear)
            sum <= 0;
        else
            sum <= sum + moved;
    end
endmodule
